// SPDX-License-Identifier: Apache-2.0
// `bitsfusion export`: converts a model file of any kind to a folder that diffusers loads, or its UNet to a GGUF file.

import ArgumentParser
import BitsFusion
import Foundation

struct ExportCommand: ParsableCommand {
    enum Format: String, CaseIterable, ExpressibleByArgument {
        case diffusers, gguf
    }

    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Convert a model to a diffusers folder or a GGUF file.",
        usage: "bitsfusion export <model> --output <output> [options]",
        discussion: """
            Reads a model, student or packed file. Writes a pipeline folder for \
            DiffusionPipeline.from_pretrained(folder), with UNet, text encoders, tokenizers, VAE and scheduler config. \
            A file with a UNet only, and --component, give the folder of one component, for \
            UNet2DConditionModel.from_pretrained(folder). Quantized layers become dense weights; all other tensors \
            keep their values.

            --format gguf writes the UNet to a GGUF file, with the codes of quantized layers in the smallest of \
            GGUF's block types that holds their levels. Scales are rounded to float16; pack with --scales float16 to \
            keep the weights bit for bit. Loaders: comfyui is ComfyUI-GGUF's "Unet Loader (GGUF)". diffusers is \
            UNet2DConditionModel.from_single_file with GGUFQuantizationConfig, which reads quantized linear layers \
            only: convolutions are dense, and the file is several times as large.

            A packed file with cached time features has no time layers, and one made with --no-vae-encoder has no \
            encoder of the VAE. Both are read from the model that the file was made from, which its manifest names, or \
            from --original.

            Examples:

              bitsfusion export packed.h5 -o folder
              bitsfusion export packed.h5 --component unet -o unet
              bitsfusion export packed.h5 --original model.h5 --dtype float16 -o folder
              bitsfusion export packed.h5 --format gguf -o unet.gguf
              bitsfusion export packed.h5 --format gguf --loader diffusers -o unet.gguf
            """)

    @Argument(help: ModelReference.help)
    var model: ModelReference

    @Option(name: .shortAndLong, help: "Folder or GGUF file to write.")
    var output: String

    @Option(help: "Format: diffusers or gguf.")
    var format = Format.diffusers

    @Option(help: "Program that reads the GGUF file: comfyui or diffusers (default: comfyui).")
    var loader: GGUFExport.Loader?

    @Option(help: "Write one component only, such as unet, text_encoder or vae.")
    var component: String?

    @Option(
        help: """
            Element type of all tensors (default: unchanged; float32 for quantized layers, and for text encoders with \
            quantized layers). With --format gguf: of dense matrices and convolutions (default: unchanged; float16 for \
            quantized layers without a block type).
            """)
    var dtype: ElementType?

    @Option(help: "Model that a packed file was made from, with its time layers and its VAE encoder.")
    var original: ModelReference?

    @Flag(help: "Replace files in a folder that is not empty.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    func validate() throws {
        switch format {
        case .diffusers:
            if loader != nil { throw ValidationError("--loader: needs --format gguf") }
        case .gguf:
            if component != nil { throw ValidationError("--component: GGUF files hold the UNet; leave it out") }
            if overwrite { throw ValidationError("--overwrite: is for folders; a GGUF file is replaced") }
        }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        switch format {
        case .diffusers: try writeFolder()
        case .gguf: try writeGGUF()
        }
    }

    private func writeFolder() throws {
        try Output.checkName(output)
        let reader = try CheckpointReader(model.path())
        let export = try addingFile(model.name) { try DiffusersExport(reader, component: component) }
        let folder = try DiffusersFolderWriter(output, overwrites: overwrite)
        let source = try originalModel(for: export.model, of: reader)
        let tensors = try withProgress { try export.write(to: folder, as: dtype, original: source, progress: $0) }
            .tensors
        for name in export.omittedTextEncoders {
            Output.warning("\(model.name): \(name): left out: transformers does not have its tokenizer")
        }
        let networks = export.model.networks.joined(separator: ", ")
        Output.line("\(output): " + (networks.isEmpty ? component ?? "" : "\(networks): \(tensors) tensors"))
    }

    private func writeGGUF() throws {
        let path = try model.path()
        try Output.checkCanCreate(output, keeping: [path] + (original.map { [try $0.path()] } ?? []))
        let reader = try CheckpointReader(path)
        let export = try addingFile(model.name) { try GGUFExport(reader, for: loader ?? .comfyUI) }
        let source = try originalModel(for: export.model, of: reader)
        let summary = try withProgress {
            try export.write(to: output, as: dtype, original: source, progress: $0)
        }.result
        let types = summary.types.map { "\($0.tensors) \($0.name)" }.joined(separator: ", ")
        Output.line("\(output): \(Numbers.bytes(summary.bytes)): tensors: \(types)")
        if summary.roundedScales > 0 {
            let change = String(format: "%.1g", summary.largestChange)
            Output.warning(
                "\(output): \(Numbers.grouped(summary.roundedScales)) scales were rounded to float16, by at most "
                    + "\(change) of their value; pack with --scales float16 to round them before")
        }
        if let bytes = try packedUNetBytes(reader) {
            Output.line(
                "\(model.name): UNet: \(Numbers.bytes(bytes)). GGUF has no block types of 3, 5 or 9 levels, stores a "
                    + "scale with each block, and has the time layers in place of cached time features.")
        }
    }

    /// The bytes of the UNet in a packed file; nil for other files.
    private func packedUNetBytes(_ reader: CheckpointReader) throws -> Int? {
        guard reader.header.format == .packed else { return nil }
        let description = try ModelDescription(model)
        let storage = TimeFeatureStorage(cachedSteps: description.cachedSteps ?? 0, of: description.inventory)
        return try ModelReport(description, recipe: description.recipe, storage: storage, encoding: .radix)
            .quantized?.unetBytes
    }

    /// Runs `write` with a function that reports progress and checks for interruption.
    private func withProgress<Result>(
        _ write: ((Int, Int) throws -> Void) throws -> Result
    ) throws -> (result: Result, tensors: Int) {
        var progress: ProgressReporter?
        var tensors = 0
        let result = try write { done, total in
            let reporter = progress ?? common.progress("exporting", total: total, unit: "tensors")
            (progress, tensors) = (reporter, total)
            reporter.update(done)
            try InterruptFlag.check()
        }
        progress?.endLine()
        return (result, tensors)
    }

    /// The model with what the file lacks: the given one, or the first unchanged input of the manifest. Nil where
    /// nothing is missing.
    private func originalModel(for export: ExportedModel, of reader: CheckpointReader) throws -> CheckpointReader? {
        guard !export.missingParts.isEmpty else {
            if original != nil { Output.warning("\(model.name): is complete; --original was ignored") }
            return nil
        }
        if let original {
            let source = try CheckpointReader(original.path())
            try addingFile(original.name) { try export.check(original: source) }
            return source
        }
        let manifest = try? JSONDecoder().decode(RunManifest.self, from: Data(reader.header.manifest.utf8))
        for input in manifest?.inputs ?? [] {
            // Relative to the current folder or to that of the packed file, or beside the packed file.
            let beside = PathParts(reader.path)
            let candidates = [
                input.path, beside.sibling(input.path), beside.sibling(PathParts(input.path).name),
            ]
            for candidate in candidates {
                guard let path = try? ModelReference(candidate).path(), let source = try? CheckpointReader(path),
                    (try? export.check(original: source)) != nil,
                    try FileDigest.sha256(ofFile: path) == input.sha256
                else { continue }
                return source
            }
        }
        let parts = export.missingParts.map(\.rawValue).joined(separator: ", ")
        throw CommandError(
            .inputMissing,
            "\(model.name): \(parts): not in the file, and the model that it was made from was not found; pass "
                + "--original model.h5")
    }
}

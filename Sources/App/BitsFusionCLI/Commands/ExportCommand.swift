// SPDX-License-Identifier: Apache-2.0
// `bitsfusion export`: converts a model file of any kind to a folder that diffusers loads.

import ArgumentParser
import BitsFusion
import Foundation

struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Convert a model file of any kind to a diffusers folder.",
        usage: "bitsfusion export <model> --output <output> [options]",
        discussion: """
            Reads a model, student or packed file. Writes a pipeline folder for \
            DiffusionPipeline.from_pretrained(folder), with UNet, text encoders, tokenizers, VAE and scheduler config. \
            A file with a UNet only, and --component, give the folder of one component, for \
            UNet2DConditionModel.from_pretrained(folder). Quantized layers become dense weights; all other tensors \
            keep their values.

            A packed file with cached time features has no time layers, and one made with --no-vae-encoder has no \
            encoder of the VAE. Both are read from the model that the file was made from, which its manifest names, or \
            from --original.

            Examples:

              bitsfusion export packed.h5 -o folder
              bitsfusion export packed.h5 --component unet -o unet
              bitsfusion export packed.h5 --original model.h5 --dtype float16 -o folder
            """)

    @Argument(help: ModelReference.help)
    var model: ModelReference

    @Option(name: .shortAndLong, help: "Folder to write.")
    var output: String

    @Option(help: "Write one component only, such as unet, text_encoder or vae.")
    var component: String?

    @Option(
        help: """
            Element type of all tensors (default: unchanged; float32 for quantized layers, and for text encoders with \
            quantized layers).
            """)
    var dtype: ElementType?

    @Option(help: "Model that a packed file was made from, with its time layers and its VAE encoder.")
    var original: ModelReference?

    @Flag(help: "Replace files in a folder that is not empty.")
    var overwrite = false

    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        InterruptFlag.install()
        try Output.checkName(output)
        let reader = try CheckpointReader(model.path())
        let export = try addingFile(model.name) { try DiffusersExport(reader, component: component) }
        let folder = try DiffusersFolderWriter(output, overwrites: overwrite)
        let source = try export.missingParts.isEmpty ? nil : originalModel(of: reader, for: export)
        if original != nil, source == nil {
            Output.warning("\(model.name): is complete; --original was ignored")
        }
        var progress: ProgressReporter?
        var tensors = 0
        try export.write(to: folder, as: dtype, original: source) { done, total in
            let reporter = progress ?? common.progress("exporting", total: total, unit: "tensors")
            (progress, tensors) = (reporter, total)
            reporter.update(done)
            try InterruptFlag.check()
        }
        progress?.endLine()
        for name in export.omittedTextEncoders {
            Output.warning("\(model.name): \(name): left out: transformers does not have its tokenizer")
        }
        let networks = export.networks.joined(separator: ", ")
        Output.line("\(output): " + (networks.isEmpty ? component ?? "" : "\(networks): \(tensors) tensors"))
    }

    /// The model with what the file lacks: the given one, or the first unchanged input of the manifest.
    private func originalModel(of reader: CheckpointReader, for export: DiffusersExport) throws -> CheckpointReader {
        if let original {
            let source = try CheckpointReader(original.path())
            try addingFile(original.name) { try export.check(original: source) }
            return source
        }
        let manifest = try? JSONDecoder().decode(RunManifest.self, from: Data(reader.header.manifest.utf8))
        for input in manifest?.inputs ?? [] {
            // Relative to the current folder, or in the folder of the packed file.
            let sibling = PathParts(reader.path).sibling(input.path)
            for candidate in [input.path, sibling] {
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

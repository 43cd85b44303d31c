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
            Reads a model, student or packed file. Writes a folder for \
            UNet2DConditionModel.from_pretrained(folder). Quantized layers become dense weights; \
            all other tensors keep their bits.

            A packed file with cached time features has no time layers. They are read from the \
            model that it was made from, which its manifest names, or from --time-layers.

            Examples:

              bitsfusion export packed.h5 -o unet
              bitsfusion export packed.h5 --time-layers model.h5 --dtype float16 -o unet
            """)

    @Argument(help: ModelReference.help)
    var model: ModelReference

    @Option(name: .shortAndLong, help: "Folder to write.")
    var output: String

    @Option(
        help: "Element type of all tensors (default: unchanged; float32 for quantized layers).")
    var dtype: ElementType?

    @Option(help: "Model with the time layers, for packed files with cached time features.")
    var timeLayers: ModelReference?

    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        InterruptFlag.install()
        let reader = try CheckpointReader(model.path())
        let export = try addingFile(model.name) { try DiffusersExport(reader) }
        let source = try export.needsTimeLayers() ? try timeLayerSource(for: reader) : nil
        if timeLayers != nil, source == nil {
            Output.warning("\(model.name): has time layers; --time-layers was ignored")
        }
        var progress: ProgressReporter?
        var tensors = 0
        try export.write(to: output, as: dtype, timeLayers: source) { done, total in
            let reporter = progress ?? common.progress("exporting", total: total, unit: "tensors")
            (progress, tensors) = (reporter, total)
            reporter.update(done)
            try InterruptFlag.check()
        }
        progress?.endLine()
        let others = reader.header.configs.keys.filter { $0 != reader.header.component }.sorted()
        if !others.isEmpty {
            Output.warning("\(model.name): \(others.joined(separator: ", ")): not exported; a UNet folder has none")
        }
        Output.line("\(output): \(tensors) tensors")
    }

    /// The model with the time layers: the given one, or the first unchanged input of the manifest.
    private func timeLayerSource(for reader: CheckpointReader) throws -> CheckpointReader {
        if let timeLayers {
            let source = try CheckpointReader(timeLayers.path())
            try check(source, named: timeLayers.name, suits: reader)
            return source
        }
        let manifest = try? JSONDecoder().decode(RunManifest.self, from: Data(reader.header.manifest.utf8))
        for input in manifest?.inputs ?? [] {
            // Relative to the current folder, or in the folder of the packed file.
            let sibling = PathParts(reader.path).sibling(input.path)
            for candidate in [input.path, sibling] {
                guard let path = try? ModelReference(candidate).path(),
                    let source = try? CheckpointReader(path),
                    (try? check(source, named: candidate, suits: reader)) != nil,
                    try FileDigest.sha256(ofFile: path) == input.sha256
                else { continue }
                return source
            }
        }
        throw CommandError(
            .inputMissing,
            "\(model.name): time layers: missing: the file has cached time features, and the model that it was made "
                + "from was not found; pass --time-layers model.h5")
    }

    private func check(_ source: CheckpointReader, named name: String, suits reader: CheckpointReader) throws {
        guard
            try DenoiserRegistry.config(of: source, named: name)
                .isEqual(to: DenoiserRegistry.config(of: reader, named: model.name))
        else {
            throw CommandError(
                .badData, "\(name): config: differs from \(model.name); pass the model that it was made from")
        }
        guard try source.timeFeatures() == nil else {
            throw CommandError(
                .badData, "\(name): time layers: missing; pass a dense model or a student")
        }
    }
}

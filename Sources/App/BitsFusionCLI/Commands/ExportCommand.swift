// SPDX-License-Identifier: Apache-2.0
// `bitsfusion export`: a model file of any kind as a folder that diffusers loads.

import ArgumentParser
import BitsFusion
import Foundation

struct ExportCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "export",
        abstract: "Turn a model, student or packed file into a diffusers folder.",
        discussion: """
            The folder loads with UNet2DConditionModel.from_pretrained(folder). Quantized layers are written as \
            the dense weights that they compute with; the tensors of a dense model are copied bit by bit.

            A packed file whose time features are cached has no time layers. They are never quantized nor trained, \
            so they are taken from the model that the file was made from, which its manifest names, or from the \
            model given with --time-layers.

            Example:

              bitsfusion export packed.h5 -o unet
            """)

    @Argument(help: ModelReference.help)
    var model: ModelReference

    @Option(name: .shortAndLong, help: "The folder to write.")
    var output: String

    @Option(
        help: "Type of every tensor (default: stored tensors keep theirs, quantized layers become float32).")
    var dtype: ElementType?

    @Option(help: "A model to take the time layers from, for packed files with cached time features.")
    var timeLayers: ModelReference?

    @OptionGroup var common: CommonOptions

    func run() throws {
        common.apply()
        let reader = try CheckpointReader(model.path())
        let export = try naming(model.name) { try DiffusersExport(reader) }
        let source = try export.needsTimeLayers() ? try timeLayerSource(for: reader) : nil
        if timeLayers != nil, source == nil {
            Output.warning("\(model.name): holds its own time layers; --time-layers was not needed")
        }
        InterruptFlag.install()
        var progress: ProgressReporter?
        var tensors = 0
        try export.write(to: output, as: dtype, timeLayers: source) { done, total in
            let reporter = progress ?? common.progress("exporting", total: total, unit: "tensors")
            (progress, tensors) = (reporter, total)
            reporter.update(done)
            try InterruptFlag.check()
        }
        progress?.endLine()
        if reader.header.textConfig != nil {
            Output.warning("\(model.name): its text encoder is no part of a UNet folder and was left out")
        }
        Output.line("\(output): \(tensors) tensors")
    }

    /// The model to take time layers from: the one that was named, or the first of the manifest's inputs that is still
    /// what it was.
    private func timeLayerSource(for reader: CheckpointReader) throws -> CheckpointReader {
        if let timeLayers {
            let source = try CheckpointReader(timeLayers.path())
            try check(source, named: timeLayers.name, suits: reader)
            return source
        }
        let manifest = try? JSONDecoder().decode(RunManifest.self, from: Data(reader.header.manifest.utf8))
        for input in manifest?.inputs ?? [] {
            // Relative to the current folder as it was then, or beside the packed file.
            let beside = PathParts(reader.path).sibling(input.path)
            for candidate in [input.path, beside] {
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
            "\(model.name): its time layers are replaced by cached features, and the model that it was made from is "
                + "not where it was; give it with --time-layers model.h5")
    }

    private func check(_ source: CheckpointReader, named name: String, suits reader: CheckpointReader) throws {
        guard
            try DenoiserRegistry.config(of: source, named: name)
                .isEqual(to: DenoiserRegistry.config(of: reader, named: model.name))
        else {
            throw CommandError(
                .badData, "\(name): has another config than \(model.name); give the model it was made from")
        }
        guard try source.timeFeatures() == nil else {
            throw CommandError(
                .badData, "\(name): has no time layers either; give a dense model or a student")
        }
    }
}

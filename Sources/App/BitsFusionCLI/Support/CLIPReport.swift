// SPDX-License-Identifier: Apache-2.0
// The report of `info` for a CLIP model: config, image processor, parameters and bytes.

import BitsFusion
import Foundation

/// The output of `info` for a file of a CLIP model; `--json` prints it as JSON.
struct CLIPReport: Encodable {
    /// One of the two transformers.
    struct Part: Encodable {
        let layers, hiddenSize, heads, parameters: Int
    }

    let name: String
    let format: String
    let architecture: String
    let text, vision: Part
    /// Texts: the number of token ids, and of tokens.
    let vocabSize, maxPositionEmbeddings: Int
    /// Images: height and width of the image and of a patch, in pixels.
    let imageSize, patchSize: Int
    let projectionDim: Int
    /// All parameters, with the projections and the logit scale.
    let parameters: Int
    /// How many bytes of parameters are stored in each type.
    let bytes: [String: Int]
    let fileBytes: Int

    /// The report of the file of `model`.
    ///
    /// - Throws: as `ImageTextEncoder.init(contentsOf:precision:)`.
    init(_ model: ModelReference) throws {
        let path = try model.path()
        let reader = try CheckpointReader(path, formats: [.clip])
        name = model.name
        let encoder = try addingFile(name) { try ImageTextEncoder(reader) }
        let config = encoder.model.config
        format = reader.format.rawValue
        architecture = reader.header.architecture
        func count(_ prefix: String) -> Int {
            encoder.model.store.entries.filter { $0.key.hasPrefix(prefix) }
                .reduce(0) { $0 + $1.source.shape.reduce(1, *) }
        }
        text = Part(
            layers: config.textConfig.numHiddenLayers, hiddenSize: config.textConfig.hiddenSize,
            heads: config.textConfig.numAttentionHeads, parameters: count("text_model."))
        vision = Part(
            layers: config.visionConfig.numHiddenLayers, hiddenSize: config.visionConfig.hiddenSize,
            heads: config.visionConfig.numAttentionHeads, parameters: count("vision_model."))
        vocabSize = config.textConfig.vocabSize
        maxPositionEmbeddings = config.textConfig.maxPositionEmbeddings
        imageSize = config.visionConfig.imageSize
        patchSize = config.visionConfig.patchSize
        projectionDim = config.projectionDim
        parameters = count("")
        var bytes: [String: Int] = [:]
        for key in reader.parameters.keys {
            guard let stored = reader.parameters.stored(key) else { continue }
            bytes[stored.typeName, default: 0] += stored.byteCount
        }
        self.bytes = bytes
        fileBytes = Numbers.fileSize(path)
    }

    /// Prints the report as text.
    func print() {
        func line(_ part: Part) -> String {
            "\(part.layers) layers of \(part.hiddenSize) channels, \(part.heads) heads, "
                + "\(Numbers.grouped(part.parameters)) parameters"
        }
        Output.line("\(name) (\(format))")
        Output.line("  architecture   \(architecture), projections to \(projectionDim) channels")
        Output.line("  text model     \(line(text))")
        Output.line(
            "                 \(Numbers.grouped(vocabSize)) token ids, texts of \(maxPositionEmbeddings) tokens")
        Output.line("  vision model   \(line(vision))")
        Output.line(
            "                 images of \(imageSize)x\(imageSize) pixels, patches of \(patchSize)x\(patchSize)")
        let types = bytes.sorted { $0.key < $1.key }.map { "\(Numbers.grouped($0.value)) bytes in \($0.key)" }
        Output.line("  parameters     \(Numbers.grouped(parameters)): \(types.joined(separator: ", "))")
        Output.line("  file           \(Numbers.grouped(fileBytes)) bytes (\(Numbers.bytes(fileBytes)))")
    }
}

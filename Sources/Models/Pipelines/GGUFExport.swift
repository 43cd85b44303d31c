// SPDX-License-Identifier: Apache-2.0
// Writes the UNet of a checkpoint as a GGUF file, for ComfyUI-GGUF (city96/ComfyUI-GGUF, loader.py) or for diffusers
// (quantizers/gguf). Quantized layers keep their codes: they are written as blocks of a type that has all of their
// levels, with the scale of the channel as the scale of each block, rounded to float16.
//
//     ComfyUI-GGUF    original names, all quantized layers as blocks; convolutions as matrices [OC, IC·KH·KW], whose
//                     shape is in the metadata
//     diffusers       diffusers' names; blocks for linear layers only, convolutions dense
//
// Vectors are Float32, as both require. Layers without a block type (rows that are not a multiple of 32; 257 levels)
// are dense.

import Checkpoints
import Networks
import Packing
import Quantization
import Tensors

/// Writes UNets as GGUF files.
public struct GGUFExport {
    /// The program that a file is for.
    public enum Loader: String, CaseIterable, Sendable {
        case comfyUI = "comfyui"
        case diffusers
    }

    /// What was written.
    public struct Summary: Equatable, Sendable {
        /// The bytes of the file.
        public let bytes: Int
        /// Tensors and weights by the name of the element type, sorted by name.
        public let types: [(name: String, tensors: Int, weights: Int)]
        /// Scales that float16 cannot hold exactly, and the largest relative change by rounding.
        public let roundedScales: Int
        public let largestChange: Float

        public static func == (a: Summary, b: Summary) -> Bool {
            a.bytes == b.bytes && a.roundedScales == b.roundedScales && a.largestChange == b.largestChange
                && a.types.elementsEqual(b.types, by: ==)
        }
    }

    /// The denoiser.
    public let model: ExportedModel
    private let loader: Loader
    private let config: UNet2DConditionConfig

    /// Prepares to export the UNet of a checkpoint of any kind.
    ///
    /// - Throws: `ConfigError`; `PipelineError.notForGGUF` for another denoiser, and a UNet without original names;
    ///   as `CheckpointReader.timeFeatures()`.
    public init(_ reader: CheckpointReader, for loader: Loader = .comfyUI) throws {
        model = try ExportedModel(reader)
        self.loader = loader
        guard let config = model.config as? UNet2DConditionConfig else {
            throw PipelineError.notForGGUF(reason: "the architecture is \(reader.header.architecture)")
        }
        self.config = config
        if loader == .comfyUI, Set(config.layersPerBlock).count > 1 {
            throw PipelineError.notForGGUF(reason: "layers_per_block is not the same for all blocks")
        }
    }

    /// Writes the file.
    ///
    /// - Parameters:
    ///   - path: the file to write.
    ///   - type: the type of dense matrices and convolutions; nil keeps the type of stored tensors, and writes
    ///     quantized layers without a block type as Float16.
    ///   - original: the model that a packed file was made from, with its time layers.
    ///   - progress: called with the tensors written and their number; it may throw to interrupt.
    /// - Returns: what was written.
    /// - Throws: `FileError`, `HDF5Error`, `CheckpointError`, `ParameterError`, `PipelineError.notForGGUF`, and what
    ///   `progress` throws; as `ExportedModel.checkValues(of:)`.
    /// - Precondition: `original` is given where the model has `missingParts`.
    public func write(
        to path: String, as type: ElementType? = nil, original: CheckpointReader? = nil,
        progress: (Int, Int) throws -> Void = { _, _ in }
    ) throws -> Summary {
        precondition(model.missingParts.isEmpty || original != nil, "GGUF: \(model.reader.path) lacks parts")
        if let original { try model.checkValues(of: original) }
        let tensors = try model.tensors(of: model.networks[0], original).map { key, content in
            (name: try name(of: key), key: key, content: content, tensor: tensor(content, type))
        }
        let writer = try GGUFWriter(
            path, metadata: metadata(tensors.map { ($0.name, $0.content, $0.tensor) }),
            tensors: tensors.map { ($0.name, $0.tensor) })
        var rounding = ScaleRounding()
        for (index, entry) in tensors.enumerated() {
            try writer.write(entry.name, bytes(entry.key, entry.content, entry.tensor.type, &rounding))
            try progress(index + 1, tensors.count)
        }
        try writer.finish()
        let groups = Dictionary(grouping: tensors) { $0.tensor.type.name }
        let types = groups.map { name, members in
            (name: name, tensors: members.count, weights: members.reduce(0) { $0 + $1.tensor.shape.reduce(1, *) })
        }
        return Summary(
            bytes: writer.byteCount, types: types.sorted { $0.name < $1.name }, roundedScales: rounding.count,
            largestChange: rounding.largestChange)
    }

    private func name(of key: String) throws -> String {
        guard loader == .comfyUI else { return key }
        let names = LDMUNetNames(layersPerBlock: config.layersPerBlock[0])
        let name = names.original(key) { config.upBlockTypes[$0] == .crossAttention }
        guard let name else { throw PipelineError.notForGGUF(reason: "\(key) has no name in Stable Diffusion's files") }
        return name
    }

    /// The metadata that ComfyUI-GGUF reads; diffusers reads none.
    private func metadata(
        _ tensors: [(name: String, content: ExportedModel.Content, tensor: GGUFTensor)]
    ) -> [(key: String, value: GGUFValue)] {
        let shapes = tensors.compactMap { name, content, tensor -> (key: String, value: GGUFValue)? in
            guard case .computed(let weight) = content, weight.shape != tensor.shape else { return nil }
            return ("comfy.gguf.orig_shape.\(name)", .int32s(weight.shape.map(Int32.init)))
        }
        // Stable Diffusion 2 is `sd1`, too: ComfyUI tells them apart by the shapes of the weights.
        let architecture = config.additionEmbedType == .textTime ? "sdxl" : "sd1"
        return [
            ("general.architecture", .string(architecture)), ("general.quantization_version", .uint32(2)),
        ] + shapes
    }

    // MARK: Tensors

    private func tensor(_ content: ExportedModel.Content, _ type: ElementType?) -> GGUFTensor {
        switch content {
        case .stored(_, let stored):
            let dense = type ?? stored.type?.elementType ?? .float32
            return GGUFTensor(type: .dense(stored.shape.count > 1 ? dense : .float32), shape: stored.shape)
        case .computed(let weight):
            guard let block = block(of: weight) else {
                return GGUFTensor(type: .dense(type ?? .float16), shape: weight.shape)
            }
            let row = weight.shape.dropFirst().reduce(1, *)
            return GGUFTensor(type: .blocks(block), shape: [weight.shape[0], row])
        }
    }

    /// The block type of a quantized layer; nil: it is written dense.
    private func block(of weight: any WeightSource) -> GGUFBlockType? {
        guard let quantized = weight as? any QuantizedWeight, loader == .comfyUI || weight.shape.count == 2 else {
            return nil
        }
        // float16 holds smaller scales with fewer bits.
        guard quantized.scales.values.allSatisfy({ (0x1p-14...65504).contains($0) }) else { return nil }
        let row = weight.shape.dropFirst().reduce(1, *)
        return .smallest(for: quantized.grid.minimumCode...quantized.grid.maximumCode, rowLength: row)
    }

    private func bytes(
        _ key: String, _ content: ExportedModel.Content, _ type: GGUFType, _ rounding: inout ScaleRounding
    ) throws -> [UInt8] {
        switch (content, type) {
        case (.stored(let source, _), .dense(let element)): return try source.encoded(key, as: element).bytes
        case (.computed(let weight), .dense(let element)):
            return try encode(withoutGradients { weight.tensor() }, as: element, key: key, file: model.reader.path)
        case (.computed(let weight as any QuantizedWeight), .blocks(let block)):
            return blocks(weight.codes, rounding.rounded(weight.scales), block)
        default: preconditionFailure("GGUF: \(key) cannot be written as \(type.name)")
        }
    }
}

/// The codes of all channels as blocks of a type.
///
/// - Parameters:
///   - codes: row-major, as many for each channel.
///   - scales: `[OC]`, as float16 bits.
///   - type: the type of the blocks.
/// - Returns: the bytes of the tensor.
private func blocks(_ codes: [Int16], _ scales: [UInt16], _ type: GGUFBlockType) -> [UInt8] {
    let row = codes.count / scales.count
    let rowBytes = row / type.codesPerBlock * type.bytesPerBlock
    return [UInt8](unsafeUninitializedCapacity: rowBytes * scales.count) { bytes, count in
        count = rowBytes * scales.count
        nonisolated(unsafe) let bytes = bytes
        codes.withUnsafeBufferPointer { codes in
            nonisolated(unsafe) let codes = codes
            Threads.parallelFor(scales.count) { channels in
                for channel in channels {
                    type.write(
                        UnsafeBufferPointer(rebasing: codes[(channel * row)..<(channel + 1) * row]),
                        scale: scales[channel],
                        to: UnsafeMutableBufferPointer(
                            rebasing: bytes[(channel * rowBytes)..<(channel + 1) * rowBytes]))
                }
            }
        }
    }
}

/// Rounds scales to float16, and counts those that change.
private struct ScaleRounding {
    private(set) var count = 0
    private(set) var largestChange: Float = 0

    /// The scales `[OC]` as float16 bits.
    mutating func rounded(_ scales: Tensor) -> [UInt16] {
        let bits = scales.withUnsafeBufferPointer { Float16Bits.encode($0, .float16) }
        for (scale, rounded) in zip(scales.values, scales.roundedToFloat16.values) where scale != rounded {
            count += 1
            largestChange = max(largestChange, abs(rounded / scale - 1))
        }
        return bits
    }
}

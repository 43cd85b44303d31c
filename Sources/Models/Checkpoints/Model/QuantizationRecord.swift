// SPDX-License-Identifier: Apache-2.0
// The scale and width of one student layer as they lie in the file. Its latent weight lies under /unet as any other.
//
//     /quantization/<layer path>/scale   float32 [OC], attribute bits

import Recipes
import Tensors

/// How one layer of a student is seen.
public struct QuantizationRecord: Sendable {
    /// The layer's diffusers path.
    public let path: String
    /// The nominal width.
    public let width: BitWidth
    /// One scale per output channel, `[OC]`.
    public let scales: Tensor

    public init(path: String, width: BitWidth, scales: Tensor) {
        self.path = path
        self.width = width
        self.scales = scales
    }
}

extension CheckpointWriter {
    /// Writes the scale and width of one student layer.
    ///
    /// - Throws: `CheckpointError.duplicateKey`, `.hdf5`.
    public func write(_ record: QuantizationRecord) throws {
        let key = record.path + "." + CheckpointName.scale
        try write(key, in: .quantization, record.scales)
        let scale = try object(key, .quantization)
        try withFile { file throws in
            try file.setInteger(CheckpointName.bits, record.width.rawValue, of: scale)
        }
    }
}

extension CheckpointReader {
    /// The diffusers paths of a student's quantized layers, sorted.
    public var quantizedLayers: [String] {
        let suffix = "." + CheckpointName.scale
        return (section(.quantization)?.keys ?? []).filter { $0.hasSuffix(suffix) }.map {
            String($0.dropLast(suffix.count))
        }
    }

    /// The scale and width of one student layer.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.attribute` for a width that does not exist, `.shapeMismatch` where the
    ///   scales are not a list.
    public func quantization(of layer: String) throws -> QuantizationRecord {
        let key = layer + "." + CheckpointName.scale
        guard let tensors = section(.quantization) else { throw CheckpointError.missingKey(file: path, key: key) }
        let scales = try tensors.tensor(key)
        guard scales.rank == 1 else {
            throw CheckpointError.shapeMismatch(file: path, key: key, expected: [scales.count], found: scales.shape)
        }
        let object = CheckpointSection.quantization.naming.path(
            of: key, below: CheckpointSection.quantization.group)
        let bits = try integer(CheckpointName.bits, of: object)
        guard let width = BitWidth(rawValue: bits) else {
            throw CheckpointError.attribute(
                file: path, object: object, name: CheckpointName.bits,
                fault: .value(expected: "\(BitWidth.range)", found: "\(bits)"))
        }
        return QuantizationRecord(path: layer, width: width, scales: scales)
    }
}

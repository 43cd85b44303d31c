// SPDX-License-Identifier: Apache-2.0
// Scales and bit width of one student layer in a checkpoint file. Its latent weight is stored below /NAME, as that of
// any other layer; NAME is the component, such as unet.
//
//     /quantization/NAME/<layer path>/scale   float32 [OC], attribute bits

import Recipes
import Tensors

/// The quantization of one student layer.
public struct QuantizationRecord: Sendable {
    /// The layer's diffusers path.
    public let path: String
    /// The nominal bit width.
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
    /// Writes scales and bit width of one student layer of a component; nil for the main one.
    ///
    /// - Throws: `CheckpointError.duplicateKey`, `.hdf5`.
    public func write(_ record: QuantizationRecord, of component: String? = nil) throws {
        let section = CheckpointSection.quantization(component ?? self.component)
        let key = record.path + "." + CheckpointName.scale
        try record.scales.withUnsafeBufferPointer { values in
            Result { () throws in
                try write(
                    key, in: section, type: .float32, shape: record.scales.shape, elements: Array(values),
                    hasAttributes: true)
            }
        }.get()
        let scale = try object(key, section)
        try withFile { file throws in
            try file.setInteger(CheckpointName.bits, record.width.rawValue, of: scale)
        }
    }
}

extension CheckpointReader {
    /// The diffusers paths of the main component's quantized layers in a student, sorted.
    public var quantizedLayers: [String] { quantizedLayers(of: header.component) }

    /// The diffusers paths of the quantized layers of a component in a student, sorted.
    public func quantizedLayers(of component: String) -> [String] {
        section(.quantization(component))?.layers(with: CheckpointName.scale) ?? []
    }

    /// Scales and bit width of one student layer of a component; nil for the main one.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.attribute` for a bit width that does not exist, `.shapeMismatch` where
    ///   the scales are not a list.
    public func quantization(of layer: String, in component: String? = nil) throws -> QuantizationRecord {
        let section = CheckpointSection.quantization(component ?? header.component)
        let key = layer + "." + CheckpointName.scale
        guard let tensors = self.section(section) else { throw CheckpointError.missingKey(file: path, key: key) }
        let scales = try tensors.tensor(key)
        guard scales.rank == 1 else {
            throw CheckpointError.shapeMismatch(file: path, key: key, expected: [scales.count], found: scales.shape)
        }
        let object = section.object(key)
        let bits = try integer(CheckpointName.bits, of: object)
        guard let width = BitWidth(rawValue: bits) else {
            throw HDF5Error.attribute(
                file: path, object: object, name: CheckpointName.bits,
                fault: .value(expected: "\(BitWidth.range)", found: "\(bits)"))
        }
        return QuantizationRecord(path: layer, width: width, scales: scales)
    }
}

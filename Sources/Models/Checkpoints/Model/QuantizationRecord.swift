// SPDX-License-Identifier: Apache-2.0
// Scales and bits of the quantized layers of a student in a checkpoint file. Latent weights are stored below /NAME, as
// the parameters of other layers. NAME is the component, such as unet.
//
//     /quantization/NAME/<layer path>/scale   float32 [OC], attributes bits, levels; dead_zone where it is not 0.5

import Quantization
import Recipes
import Tensors

/// The quantization of one layer of a student.
public struct QuantizationRecord: Sendable {
    /// The layer's diffusers path.
    public let path: String
    /// The grid of the codes.
    public let grid: QuantizationGrid
    /// One scale per output channel, `[OC]`.
    public let scales: Tensor

    public init(path: String, grid: QuantizationGrid, scales: Tensor) {
        self.path = path
        self.grid = grid
        self.scales = scales
    }

    /// The nominal bits.
    public var bits: BitWidth { grid.bits }
}

extension CheckpointWriter {
    /// Writes scales and bits of a layer of a component; nil: of the main component.
    ///
    /// - Throws: `CheckpointError.invalidKey`, `.duplicateKey`; `HDF5Error`; `FileError.writeFailed`.
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
            try file.setInteger(CheckpointName.bits, record.bits.rawValue, of: scale)
            try file.setInteger(CheckpointName.levels, record.grid.levels, of: scale)
            if record.grid.deadZone != QuantizationGrid.nearest {
                try file.setFloat(CheckpointName.deadZone, record.grid.deadZone, of: scale)
            }
        }
    }
}

extension CheckpointReader {
    /// The diffusers paths of the quantized layers of a student's main component, sorted.
    public var quantizedLayers: [String] { quantizedLayers(of: header.component) }

    /// The diffusers paths of the quantized layers of a student's component, sorted.
    public func quantizedLayers(of component: String) -> [String] {
        section(.quantization(component))?.layers(with: CheckpointName.scale) ?? []
    }

    /// Scales and bits of a layer of a student's component; nil: of the main component.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.elementType`, `.notFinite`, or `.shapeMismatch` if the scales do not
    ///   have one axis; `HDF5Error.attribute` if bits or levels are missing, or bits, levels or dead zone are not those
    ///   of a grid.
    public func quantization(of layer: String, in component: String? = nil) throws -> QuantizationRecord {
        let section = CheckpointSection.quantization(component ?? header.component)
        let key = layer + "." + CheckpointName.scale
        guard let tensors = self.section(section) else { throw CheckpointError.missingKey(file: path, key: key) }
        let scales = try tensors.tensor(key)
        guard scales.rank == 1 else {
            throw CheckpointError.shapeMismatch(file: path, key: key, expected: [scales.count], found: scales.shape)
        }
        let object = section.object(key)
        let nominalBits = try integer(CheckpointName.bits, of: object)
        guard let bits = BitWidth(rawValue: nominalBits) else {
            throw HDF5Error.attribute(
                file: path, object: object, name: CheckpointName.bits,
                fault: .value(expected: "\(BitWidth.range)", found: "\(nominalBits)"))
        }
        let levels = try integer(CheckpointName.levels, of: object)
        guard let grid = QuantizationGrid(bits, levels: levels) else {
            throw HDF5Error.attribute(
                file: path, object: object, name: CheckpointName.levels,
                fault: .value(expected: "\(bits.levels) or \(1 << bits.rawValue)", found: "\(levels)"))
        }
        guard let deadZone = try float(CheckpointName.deadZone, of: object) else {
            return QuantizationRecord(path: layer, grid: grid, scales: scales)
        }
        guard let withDeadZone = QuantizationGrid(bits, levels: levels, deadZone: deadZone) else {
            throw HDF5Error.attribute(
                file: path, object: object, name: CheckpointName.deadZone,
                fault: .value(expected: "0.5 to below 1", found: "\(deadZone)"))
        }
        return QuantizationRecord(path: layer, grid: withDeadZone, scales: scales)
    }
}

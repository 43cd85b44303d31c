// SPDX-License-Identifier: Apache-2.0
// The packed layers of a checkpoint file. The grid of codes is defined in Quantization, their layout in bytes in
// Packing.
//
//     /packed/NAME/<layer path>/codes   uint8 [bytes]     attributes bits, levels, encoding, shape, crc32
//     /packed/NAME/<layer path>/scale   float16 or float32 [OC]
//
// crc32 is the checksum of codes and scales. NAME is the component, such as unet.

import Files
import Packing
import Quantization
import Recipes
import Tensors

/// Codes and scales of one quantized layer.
public struct PackedLayerRecord: Equatable, Sendable {
    /// The layer's diffusers path, such as `down_blocks.0.resnets.0.conv1`.
    public let path: String
    /// The grid of the codes, without a dead zone: it only matters where weights are rounded.
    public let grid: QuantizationGrid
    /// The encoding of `codes`.
    public let encoding: PackingEncoding
    /// The weight's shape, `[OC, IC]` or `[OC, IC, KH, KW]`.
    public let shape: [Int]
    /// The packed codes of the whole weight, row-major.
    public let codes: [UInt8]
    /// One scale per output channel, > 0, finite.
    public let scales: [Float]

    /// The largest number of weights of a layer. Limited, because a few bytes can encode any number of codes.
    private static let weightLimit = 1 << 30

    /// The nominal bits.
    public var bits: BitWidth { grid.bits }
    /// The number of grid points.
    public var levels: Int { grid.levels }
    /// The number of weights.
    public var count: Int { shape.reduce(1, *) }

    /// Checks that the parts match.
    ///
    /// - Throws: `PackedLayerFault.unbalanced`, `.shape`, `.codeBytes`, `.scaleCount` or `.scale`.
    public init(
        path: String, grid: QuantizationGrid, encoding: PackingEncoding, shape: [Int], codes: [UInt8],
        scales: [Float]
    ) throws(PackedLayerFault) {
        guard grid.isBalanced else { throw .unbalanced(levels: grid.levels) }
        guard let count = elementCount(shape), [2, 4].contains(shape.count), count <= Self.weightLimit else {
            throw .shape(shape)
        }
        let bound = packedByteCountBound(count: count, levels: grid.levels, encoding: encoding)
        guard encoding.hasFixedSize ? codes.count == bound : codes.count <= bound else {
            throw .codeBytes(expected: bound, found: codes.count)
        }
        guard scales.count == shape[0] else { throw .scaleCount(expected: shape[0], found: scales.count) }
        if let channel = scales.firstIndex(where: { !($0 > 0 && $0.isFinite) }) {
            throw .scale(channel: channel, found: scales[channel])
        }
        self.path = path
        self.grid = grid.withoutDeadZone
        self.encoding = encoding
        self.shape = shape
        self.codes = codes
        self.scales = scales
    }

    /// The dense weight, of shape `shape`: each code times the scale of its output channel.
    ///
    /// - Throws: `PackingError` if the bytes do not encode codes of the grid.
    public func dequantized() throws(PackingError) -> Tensor {
        let unpacked: [Int16] = try unpackCodes(codes, count: count, levels: levels, encoding: encoding)
        let scales = Tensor(scales, shape: [scales.count])
        return unpacked.withUnsafeBufferPointer {
            GridQuantizer.dequantize($0, scales: scales, shape: shape)
        }
    }
}

/// An error in a packed layer: its parts do not match or are damaged.
public enum PackedLayerFault: Error, Equatable, Sendable {
    /// The shape is not that of a linear or convolution weight, or has too many elements.
    case shape([Int])
    /// The number of bytes of the codes; for encodings without fixed size, `expected` is the maximum.
    case codeBytes(expected: Int, found: Int)
    /// The number of scales is not the number of output channels.
    case scaleCount(expected: Int, found: Int)
    /// A scale is not finite, not positive, or too small for the type that it is stored in.
    case scale(channel: Int, found: Float)
    /// The attribute `levels` does not belong to a grid of `bits` nominal bits, or `bits` is not in `1...8`.
    case levels(bits: Int, found: Int)
    /// LSQ's grid, which only students have.
    case unbalanced(levels: Int)
    /// An unknown encoding.
    case encoding(String)
    /// The checksum of codes and scales is not the stored one.
    case checksum(expected: UInt32, found: UInt32)
    /// The codes cannot be decoded.
    case codes(PackingError)
}

extension CheckpointWriter {
    /// Writes one packed layer.
    ///
    /// - Parameters:
    ///   - record: the layer.
    ///   - component: the component of the layer; nil: the main component.
    ///   - scaleType: the type of the scales: `.float32`, or `.float16` with a relative error of up to 2^-11.
    /// - Throws: `PackedLayerError` if a scale is below the normal numbers of `scaleType`;
    ///   `CheckpointError.exceedsType`, `.invalidKey`, `.duplicateKey`; `HDF5Error`; `FileError.writeFailed`.
    public func write(
        _ record: PackedLayerRecord, of component: String? = nil, scaleType: ElementType = .float32
    ) throws {
        let section = CheckpointSection.packed(component ?? self.component)
        let codesKey = record.path + "." + CheckpointName.codes
        let scaleKey = record.path + "." + CheckpointName.scale
        let scales = try encodedScales(record, as: scaleType, key: scaleKey)
        try write(
            codesKey, in: section, type: .uint8, shape: [record.codes.count], elements: record.codes,
            hasAttributes: true)
        let codes = try object(codesKey, section)
        try withFile { file throws in
            try file.setInteger(CheckpointName.bits, record.bits.rawValue, of: codes)
            try file.setInteger(CheckpointName.levels, record.levels, of: codes)
            try file.setText(CheckpointName.encoding, record.encoding.rawValue, of: codes)
            try file.setIntegers(CheckpointName.shape, record.shape, of: codes)
            let checksum = packedChecksum(codes: record.codes, scales: scales)
            try file.setInteger(CheckpointName.checksum, Int(checksum), of: codes)
        }
        try write(
            scaleKey, in: section, type: StorageType(scaleType), shape: [record.scales.count], elements: scales)
    }

    private func encodedScales(
        _ record: PackedLayerRecord, as type: ElementType, key: String
    ) throws -> [UInt8] {
        guard type != .float32 else { return record.scales.withUnsafeBytes { Array($0) } }
        // Subnormal 16-bit numbers are less precise, and smaller scales would become 0, which disables the channel.
        let smallest: Float = type == .float16 ? 0x1p-14 : Float.leastNormalMagnitude
        if let channel = record.scales.firstIndex(where: { $0 < smallest }) {
            throw PackedLayerError(
                file: path, layer: record.path,
                fault: .scale(channel: channel, found: record.scales[channel]))
        }
        return try encode(Tensor(record.scales, shape: [record.scales.count]), as: type, key: key, file: path)
    }
}

/// The checksum of codes and scales. Without it, damaged codes and scales could be other valid values.
private func packedChecksum(codes: [UInt8], scales: [UInt8]) -> UInt32 {
    CRC32.checksum(of: scales, after: CRC32.checksum(of: codes))
}

extension CheckpointReader {
    /// Reads and checks a packed layer of a component; nil: of the main component.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.elementType`, `.notFinite`; `HDF5Error`; `PackedLayerError` if the
    ///   parts do not match or are damaged. The codes are not decoded.
    public func packedLayer(_ layer: String, of component: String? = nil) throws -> PackedLayerRecord {
        let section = CheckpointSection.packed(component ?? header.component)
        let codesKey = layer + "." + CheckpointName.codes
        let scaleKey = layer + "." + CheckpointName.scale
        guard let tensors = self.section(section) else {
            throw CheckpointError.missingKey(file: path, key: codesKey)
        }
        let codes = try tensors.elements(codesKey, as: UInt8.self, [.uint8])
        let scales = try tensors.tensor(scaleKey)
        let storedScales = try tensors.storedBytes(scaleKey)
        let object = section.object(codesKey)
        let nominalBits = try integer(CheckpointName.bits, of: object)
        let levels = try integer(CheckpointName.levels, of: object)
        let encoding = try text(CheckpointName.encoding, of: object)
        let shape = try integers(CheckpointName.shape, of: object)
        let checksum = try integer(CheckpointName.checksum, of: object)
        do throws(PackedLayerFault) {
            guard let grid = BitWidth(rawValue: nominalBits).flatMap({ QuantizationGrid($0, levels: levels) }) else {
                throw .levels(bits: nominalBits, found: levels)
            }
            guard let known = PackingEncoding(rawValue: encoding) else { throw .encoding(encoding) }
            let found = packedChecksum(codes: codes, scales: storedScales)
            guard Int(found) == checksum else {
                throw .checksum(expected: UInt32(truncatingIfNeeded: checksum), found: found)
            }
            return try PackedLayerRecord(
                path: layer, grid: grid, encoding: known, shape: shape, codes: codes, scales: scales.values)
        } catch {
            throw PackedLayerError(file: path, layer: layer, fault: error)
        }
    }

    /// The element type of the scales of a packed layer of a component; nil: of the main component.
    ///
    /// - Throws: `CheckpointError.missingKey`.
    public func packedScaleType(_ layer: String, of component: String? = nil) throws -> StorageType {
        let key = layer + "." + CheckpointName.scale
        guard let type = section(.packed(component ?? header.component))?.stored(key)?.type else {
            throw CheckpointError.missingKey(file: path, key: key)
        }
        return type
    }

    /// The diffusers paths of the packed layers of the main component, sorted.
    public var packedLayers: [String] { packedLayers(of: header.component) }

    /// The diffusers paths of the packed layers of a component, sorted.
    public func packedLayers(of component: String) -> [String] {
        section(.packed(component))?.layers(with: CheckpointName.codes) ?? []
    }
}

extension HDF5Tensors {
    /// The paths of the layers that have a dataset `name`, sorted.
    func layers(with name: String) -> [String] {
        keys.filter { $0.hasSuffix("." + name) }.map { String($0.dropLast(name.count + 1)) }
    }
}

/// An error in a packed layer of a file.
public struct PackedLayerError: Error, Equatable, Sendable {
    public let file, layer: String
    public let fault: PackedLayerFault

    public init(file: String, layer: String, fault: PackedLayerFault) {
        self.file = file
        self.layer = layer
        self.fault = fault
    }
}

extension PackedLayerError: CategorizedError {
    public var category: ErrorCategory { .badData }
    public var description: String { "\(file): packed layer \(layer): \(fault)" }
}

extension PackedLayerFault: CategorizedError {
    public var category: ErrorCategory { .badData }

    public var description: String {
        switch self {
        case .shape(let shape): "expected the shape of a weight, found \(shape)"
        case .codeBytes(let expected, let found): "expected \(expected) bytes of codes, found \(found)"
        case .scaleCount(let expected, let found): "expected \(expected) scales, found \(found)"
        case .scale(let channel, let found):
            "scale of channel \(channel): expected a finite number > 0 in the range of its type, found \(found)"
        case .levels(let bits, let found): "\(found) levels do not match \(bits) bits"
        case .unbalanced(let levels):
            "packed files have balanced grids only, found LSQ's grid of \(levels) levels; train with --grid balanced"
        case .encoding(let name): "unknown encoding \"\(name)\""
        case .checksum(let expected, let found):
            "codes and scales: expected the checksum \(expected), found \(found); the file is damaged"
        case .codes(let error): "\(error)"
        }
    }
}

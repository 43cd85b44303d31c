// SPDX-License-Identifier: Apache-2.0
// One layer of a packed model in a checkpoint file. The meaning of codes is defined in Quantization, their layout in
// bytes in Packing.
//
//     /packed/NAME/<layer path>/codes   uint8 [bytes]     attributes bits, levels, encoding, shape, crc32
//     /packed/NAME/<layer path>/scale   float16 or float32 [OC]
//
// crc32 covers codes and scales. NAME is the component, such as unet.

import Files
import Packing
import Quantization
import Recipes
import Tensors

/// Codes and scales of one quantized layer.
public struct PackedLayerRecord: Equatable, Sendable {
    /// The layer's diffusers path, such as `down_blocks.0.resnets.0.conv1`.
    public let path: String
    /// The nominal width.
    public let width: BitWidth
    /// How the codes lie in `codes`.
    public let encoding: PackingEncoding
    /// The weight's shape, `[OC, IC]` or `[OC, IC, KH, KW]`.
    public let shape: [Int]
    /// The packed codes, one stream over the whole weight, row-major.
    public let codes: [UInt8]
    /// One scale per output channel, > 0, finite.
    public let scales: [Float]

    /// Weights of a layer at most: a stream of a few bytes can claim any number of them.
    private static let mostWeights = 1 << 30

    /// The number of grid points, 2^b + 1.
    public var levels: Int { width.levels }
    /// The number of weights.
    public var count: Int { shape.reduce(1, *) }

    /// A record of parts that belong together.
    ///
    /// - Throws: `PackedLayerFault`.
    public init(
        path: String, width: BitWidth, encoding: PackingEncoding, shape: [Int], codes: [UInt8],
        scales: [Float]
    ) throws(PackedLayerFault) {
        guard let count = elementCount(shape), [2, 4].contains(shape.count), count <= Self.mostWeights else {
            throw .shape(shape)
        }
        let most = packedByteCountBound(count: count, levels: width.levels, encoding: encoding)
        guard encoding.hasFixedSize ? codes.count == most : codes.count <= most else {
            throw .codeBytes(expected: most, found: codes.count)
        }
        guard scales.count == shape[0] else { throw .scaleCount(expected: shape[0], found: scales.count) }
        if let channel = scales.firstIndex(where: { !($0 > 0 && $0.isFinite) }) {
            throw .scale(channel: channel, found: scales[channel])
        }
        self.path = path
        self.width = width
        self.encoding = encoding
        self.shape = shape
        self.codes = codes
        self.scales = scales
    }

    /// The dense weight: each code times its channel's scale.
    ///
    /// - Throws: `PackingError` where the bytes hold a code that does not exist.
    public func dequantized() throws(PackingError) -> Tensor {
        let unpacked: [Int16] = try unpackCodes(codes, count: count, levels: levels, encoding: encoding)
        let scales = Tensor(scales, shape: [scales.count])
        return unpacked.withUnsafeBufferPointer {
            BalancedQuantizer.dequantize($0, scales: scales, shape: shape)
        }
    }
}

/// Parts of a packed layer that do not belong together.
public enum PackedLayerFault: Error, Equatable, Sendable {
    case shape([Int])
    case codeBytes(expected: Int, found: Int)
    case scaleCount(expected: Int, found: Int)
    /// A scale that is not finite and above 0.
    case scale(channel: Int, found: Float)
    /// The attribute levels is not 2^bits + 1.
    case levels(bits: Int, found: Int)
    case encoding(String)
    /// The codes are not those that were written.
    case checksum(expected: UInt32, found: UInt32)
    case codes(PackingError)
}

extension CheckpointWriter {
    /// Writes one packed layer.
    ///
    /// - Parameters:
    ///   - record: the layer.
    ///   - component: the component that it belongs to; nil for the main one.
    ///   - scaleType: `.float32`, or `.float16` for half the bytes at a relative error of 2^-11.
    /// - Throws: `PackedLayerError` where a scale leaves the range in which float16 has that precision,
    ///   `.duplicateKey`, `.hdf5`.
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
            try file.setInteger(CheckpointName.bits, record.width.rawValue, of: codes)
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
        // Below its normal numbers a 16-bit type has fewer digits, and at last none: a silent channel.
        let smallest: Float = type == .float16 ? 0x1p-14 : Float.leastNormalMagnitude
        if let channel = record.scales.firstIndex(where: { $0 < smallest }) {
            throw PackedLayerError(
                file: path, layer: record.path,
                fault: .scale(channel: channel, found: record.scales[channel]))
        }
        return try encode(Tensor(record.scales, shape: [record.scales.count]), as: type, key: key, file: path)
    }
}

/// The checksum that detects damaged codes and scales, which could otherwise be other valid ones.
private func packedChecksum(codes: [UInt8], scales: [UInt8]) -> UInt32 {
    CRC32.checksum(of: scales, after: CRC32.checksum(of: codes))
}

extension CheckpointReader {
    /// Reads and checks one packed layer of a component; nil for the main one.
    ///
    /// - Throws: `CheckpointError.missingKey`, `.attribute`, `.packedLayer` where its parts do not belong together or
    ///   are damaged.
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
        let bits = try integer(CheckpointName.bits, of: object)
        let levels = try integer(CheckpointName.levels, of: object)
        let encoding = try text(CheckpointName.encoding, of: object)
        let shape = try integers(CheckpointName.shape, of: object)
        let checksum = try integer(CheckpointName.checksum, of: object)
        do throws(PackedLayerFault) {
            guard let width = BitWidth(rawValue: bits), width.levels == levels else {
                throw .levels(bits: bits, found: levels)
            }
            guard let known = PackingEncoding(rawValue: encoding) else { throw .encoding(encoding) }
            let found = packedChecksum(codes: codes, scales: storedScales)
            guard Int(found) == checksum else {
                throw .checksum(expected: UInt32(truncatingIfNeeded: checksum), found: found)
            }
            return try PackedLayerRecord(
                path: layer, width: width, encoding: known, shape: shape, codes: codes, scales: scales.values)
        } catch {
            throw PackedLayerError(file: path, layer: layer, fault: error)
        }
    }

    /// The element type of a packed layer's scales.
    ///
    /// - Throws: `CheckpointError.missingKey`.
    public func packedScaleType(_ layer: String, of component: String? = nil) throws -> StorageType {
        let key = layer + "." + CheckpointName.scale
        guard let type = section(.packed(component ?? header.component))?.stored(key)?.type else {
            throw CheckpointError.missingKey(file: path, key: key)
        }
        return type
    }

    /// The diffusers paths of the main component's packed layers, sorted.
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

/// A packed layer of a file whose parts do not belong together, or are damaged.
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
        case .shape(let shape): "shape \(shape) is not that of a weight"
        case .codeBytes(let expected, let found): "expected \(expected) bytes of codes, found \(found)"
        case .scaleCount(let expected, let found): "expected \(expected) scales, found \(found)"
        case .scale(let channel, let found):
            "scale \(found) of channel \(channel) is not a number that can be stored, > 0"
        case .levels(let bits, let found): "\(found) levels do not belong to \(bits) bits"
        case .encoding(let name): "unknown encoding \"\(name)\""
        case .checksum(let expected, let found):
            "codes and scales have the checksum \(found), written were some with \(expected); the file is damaged"
        case .codes(let error): "\(error)"
        }
    }
}

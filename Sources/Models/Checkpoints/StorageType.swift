// SPDX-License-Identifier: Apache-2.0
// The element types of checkpoints, and their names in HDF5, safetensors and NumPy.
//
//     float32  F32   IEEE 754 binary32                    numpy.float32
//     float16  F16   IEEE 754 binary16                    numpy.float16
//     bfloat16 BF16  the upper half of a float32          HDF5: uint16 with the attribute dtype = "bfloat16"
//     uint8    U8, int8 I8, int32 I32, int64 I64, uint64 U64; all little-endian

import Tensors

/// An element type of a stored tensor.
public enum StorageType: String, CaseIterable, Codable, Sendable {
    case float32, float16, bfloat16, uint8, int8, int32, int64, uint64

    /// Bytes of one element.
    public var bytesPerElement: Int {
        switch self {
        case .uint8, .int8: 1
        case .float16, .bfloat16: 2
        case .float32, .int32: 4
        case .int64, .uint64: 8
        }
    }

    /// The name in a safetensors header.
    public var safetensorsName: String {
        switch self {
        case .float32: "F32"
        case .float16: "F16"
        case .bfloat16: "BF16"
        case .uint8: "U8"
        case .int8: "I8"
        case .int32: "I32"
        case .int64: "I64"
        case .uint64: "U64"
        }
    }

    /// The type with the name `name` in safetensors headers; nil if checkpoints do not support it.
    init?(safetensorsName name: String) {
        guard let found = Self.allCases.first(where: { $0.safetensorsName == name }) else { return nil }
        self = found
    }
}

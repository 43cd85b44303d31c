// SPDX-License-Identifier: Apache-2.0
// Conversions between `StorageType` and HDF5 datatypes. HDF5 has no bfloat16; it is stored as uint16 with an attribute.

import CHDF5

extension HDF5Location {
    /// A new HDF5 datatype for `type`, in the file and in memory: all supported machines are little-endian, so that
    /// HDF5 never converts.
    ///
    /// - Throws: `HDF5Error.failed`.
    func datatype(_ type: StorageType) throws -> HDF5Handle {
        try open(HDF5Operation.describeType, .datatype) {
            switch type {
            case .float32: H5Tcopy(bf_h5t_ieee_f32le())
            case .float16: bf_h5t_create_float16()
            case .bfloat16: H5Tcopy(bf_h5t_std_u16le())
            case .uint8: H5Tcopy(bf_h5t_std_u8le())
            case .int8: H5Tcopy(bf_h5t_std_i8le())
            case .int32: H5Tcopy(bf_h5t_std_i32le())
            case .int64: H5Tcopy(bf_h5t_std_i64le())
            case .uint64: H5Tcopy(bf_h5t_std_u64le())
            }
        }
    }

    /// The `StorageType` of an HDF5 datatype.
    ///
    /// - Parameters:
    ///   - datatype: an open HDF5 datatype.
    ///   - isBfloat16: whether the dataset has the attribute of bfloat16.
    /// - Returns: the type with the same bits.
    /// - Throws: `HDF5Error.object` with `.unsupportedType` for all other types; `.failed`.
    func storageType(of datatype: borrowing HDF5Handle, isBfloat16: Bool) throws
        -> StorageType
    {
        let id = datatype.id
        let size = HDF5Location.locked { H5Tget_size(id) }
        for type in StorageType.allCases
        where (type == .bfloat16) == isBfloat16 && type.bytesPerElement == size {
            let candidate = try self.datatype(type)
            if try call(HDF5Operation.describeType, { H5Tequal(id, candidate.id) }) > 0 { return type }
        }
        throw HDF5Error.object(file: file, object: object, fault: .unsupportedType(name(of: datatype)))
    }

    /// A name for error messages: "float64", "int16", "big-endian float32", "string", "compound" ...
    func name(of datatype: borrowing HDF5Handle) -> String {
        let id = datatype.id
        return HDF5Location.locked {
            let bits = H5Tget_size(id) * 8
            let order = H5Tget_order(id) == H5T_ORDER_BE ? "big-endian " : ""
            switch H5Tget_class(id) {
            case H5T_INTEGER: return "\(order)\(H5Tget_sign(id) == H5T_SGN_NONE ? "uint" : "int")\(bits)"
            case H5T_FLOAT: return "\(order)float\(bits)"
            case H5T_STRING: return H5Tis_variable_str(id) > 0 ? "variable-length string" : "string"
            case H5T_COMPOUND: return "compound"
            case H5T_ENUM: return "enumeration"
            case H5T_ARRAY: return "array"
            case H5T_VLEN: return "variable-length list"
            case H5T_REFERENCE: return "reference"
            case H5T_OPAQUE: return "opaque"
            case H5T_BITFIELD: return "bit field"
            default: return "unknown"
            }
        }
    }
}

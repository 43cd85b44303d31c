// SPDX-License-Identifier: Apache-2.0
// Errors of HDF5 files.

import Files

/// A failure of the HDF5 library, or an object that is not valid in a checkpoint.
public enum HDF5Error: Error, Equatable, Sendable {
    /// HDF5 failed. `object` is the path inside the file, `cause` the first record of HDF5's error stack.
    case failed(file: String, object: String, operation: String, cause: String)
    /// A group or dataset is missing or not valid.
    case object(file: String, object: String, fault: ObjectFault)
    /// An attribute is missing, or its type or value is not valid.
    case attribute(file: String, object: String, name: String, fault: AttributeFault)
}

/// An error in an object inside an HDF5 file.
public enum ObjectFault: Equatable, Sendable {
    /// The object does not exist.
    case missing
    /// The object is a soft, external or user-defined link.
    case notAHardLink
    /// The element type, or the kind of object, is not supported.
    case unsupportedType(String)
    /// It is compressed with a filter that this HDF5 library does not have.
    case missingFilter(name: String, id: Int)
    /// Its extents do not fit into the file or into memory.
    case impossibleExtents([Int])
    /// The depth of nested groups exceeds `limit`: a group contains itself, or the file is damaged.
    case tooDeep(limit: Int)
    /// The number of objects exceeds `limit`: the file is damaged.
    case tooMany(limit: Int)
    /// A number of bytes or elements is not the expected one.
    case size(expected: Int, found: Int)
    /// A value is not valid in the format.
    case value(expected: String, found: String)
}

/// An error in an attribute.
public enum AttributeFault: Equatable, Sendable {
    case missing
    /// The type is not `expected`, such as "integers".
    case wrongType(expected: String)
    case value(expected: String, found: String)
}

extension HDF5Error: CategorizedError {
    public var category: ErrorCategory {
        if case .failed(_, _, let operation, _) = self, HDF5Operation.writing.contains(operation) {
            return .inputOutput
        }
        return .badData
    }

    public var description: String {
        switch self {
        case .failed(let file, let object, let operation, let cause):
            "\(file): HDF5 could not \(operation) \(object.shortened) (\(cause))" + Self.advice(operation, cause)
        case .object(let file, let object, let fault): "\(file): \(object.shortened): \(fault)"
        case .attribute(let file, let object, let name, let fault):
            "\(file): attribute \(name.shortened) of \(object.shortened): \(fault)"
        }
    }
}

extension HDF5Error {
    private static func advice(_ operation: String, _ cause: String) -> String {
        if HDF5Operation.writing.contains(operation) { return "" }
        if cause.contains("version number") {
            return "; the file is of a newer HDF5 than the library here, or damaged: write it again in an older format "
                + "(h5py: libver=(\"earliest\", \"v110\"))"
        }
        return "; the file is damaged or incomplete"
    }
}

extension ObjectFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .missing: "not in this file"
        case .notAHardLink: "a link to elsewhere, which checkpoints do not hold"
        case .unsupportedType(let name): "holds \(name), which checkpoints do not store"
        case .missingFilter(let name, let id):
            "compressed with the filter \(name) (\(id)), which the HDF5 library here does not have; install the plugin "
                + "and set HDF5_PLUGIN_PATH, or write the file again without compression or with gzip (h5py: "
                + "compression=\"gzip\")"
        case .impossibleExtents(let shape): "claims the shape \(shape), which the file cannot hold"
        case .tooDeep(let limit):
            "groups are nested more than \(limit) deep, or in a cycle; the file is damaged"
        case .tooMany(let limit): "holds more than \(limit) objects; the file is damaged"
        case .size(let expected, let found): "expected a size of \(expected), found \(found)"
        case .value(let expected, let found): "expected \(expected), found \(found)"
        }
    }
}

extension AttributeFault: CustomStringConvertible {
    public var description: String {
        switch self {
        case .missing: "missing; the file is not a bitsfusion checkpoint"
        case .wrongType(let expected): "is not \(expected)"
        case .value(let expected, let found): "expected \(expected), found \(found)"
        }
    }
}

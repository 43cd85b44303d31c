// SPDX-License-Identifier: Apache-2.0
// Calls of the HDF5 library. All calls use `HDF5Location.call` or `HDF5Location.locked`.

import CHDF5
import Files
import Foundation
import Synchronization

/// Serializes all calls: not every build of HDF5 is thread-safe, and the error stack must be read before the next call.
/// Calls must not be nested.
private let library = Mutex<Void>(())

/// Removes HDF5's exit handler, which crashes if a file could not be closed because the disk was full. All files are
/// closed by their owners, so that the handler is not required. Must precede all other calls.
private let withoutExitHandler: Void = { _ = H5dont_atexit() }()

/// The operations of HDF5 that can fail. The names are part of the error text.
enum HDF5Operation {
    static let openFile = "open file"
    static let createFile = "create file"
    static let flush = "flush"
    static let close = "close"
    static let openObject = "open"
    static let list = "list"
    static let createGroup = "create group"
    static let createDataset = "create dataset"
    static let read = "read"
    static let write = "write"
    static let readAttribute = "read attribute"
    static let writeAttribute = "write attribute"
    static let describeType = "describe type"

    /// Operations that fail because of the output, such as a full disk, and not because of the input.
    static let writing: Set<String> = [
        createFile, flush, close, createGroup, createDataset, write, writeAttribute,
    ]
}

/// A file and a path inside it, for error messages.
struct HDF5Location: Equatable, Sendable {
    let file: String
    var object: String

    init(_ file: String, _ object: String = "/") {
        self.file = file
        self.object = object
    }

    /// Calls HDF5 and throws an error with the first record of HDF5's error stack if the status is negative.
    ///
    /// - Parameters:
    ///   - operation: one of `HDF5Operation`.
    ///   - body: calls HDF5 and returns its status (`herr_t`, `htri_t`, `hid_t`, or a count). Must not call this
    ///     function.
    /// - Returns: the status, >= 0.
    /// - Throws: `HDF5Error.failed`; `FileError.writeFailed` if a system call for writing failed.
    @discardableResult
    func call<Status: FixedWidthInteger & SignedInteger>(
        _ operation: String, _ body: () -> Status
    ) throws -> Status {
        var cause = ""
        let status = HDF5Location.locked { () -> Status in
            let status = body()
            if status < 0 { cause = HDF5Location.firstError() }
            return status
        }
        if status >= 0 { return status }
        // HDF5 writes buffers when it needs their memory, so that reading a new file can fail to write, too.
        if HDF5Operation.writing.contains(operation) || cause.contains("write failed"),
            let code = HDF5Location.systemError(in: cause)
        {
            throw FileError.writeFailure(file, code)
        }
        throw HDF5Error.failed(file: file, object: object, operation: operation, cause: cause)
    }

    /// The errno in HDF5's description of a failed system call: "... errno = 28, error message = ...".
    private static func systemError(in cause: String) -> Int32? {
        guard let start = cause.range(of: "errno = ")?.upperBound else { return nil }
        return Int32(cause[start...].prefix { $0.isNumber })
    }

    /// As `call`, for calls that return a new identifier, which the returned handle closes.
    func open(
        _ operation: String, _ kind: HDF5Handle.Kind, _ body: () -> hid_t
    ) throws -> HDF5Handle {
        HDF5Handle(try call(operation, body), kind)
    }

    /// Calls HDF5 without checking the status.
    static func locked<Result>(_ body: () -> Result) -> Result {
        library.withLock { _ in
            withoutExitHandler
            bf_h5_silence()
            return body()
        }
    }

    private static func firstError() -> String {
        // Records contain the path of the file before the errno.
        var text = [CChar](repeating: 0, count: 512 + Int(PATH_MAX))
        bf_h5_first_error(&text, text.count)
        let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        // Records of file operations contain line breaks and the time. Error texts must be one line, and reproducible.
        var oneLine = String(decoding: bytes, as: UTF8.self).split { $0.isNewline }.joined(separator: " ")
        if let time = oneLine.range(of: "time = "), let end = oneLine[time.upperBound...].range(of: ", ") {
            oneLine.removeSubrange(time.lowerBound..<end.upperBound)
        }
        return oneLine.isEmpty ? "no reason given" : oneLine
    }
}

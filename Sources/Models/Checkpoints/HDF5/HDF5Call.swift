// SPDX-License-Identifier: Apache-2.0
// The one door to the HDF5 library: every call of it, in this folder, goes through `HDF5Location.call`.

import CHDF5
import Files
import Foundation
import Synchronization

/// Serialises all calls: HDF5 is thread-safe only where it was built so, and its error stack must be read before the
/// same thread's next call. Never nested.
private let library = Mutex<Void>(())

/// A file that could not be closed because the disk was full stays in HDF5's tables, and its exit handler would crash
/// on it. Every file here is closed by its owner, so there is nothing for that handler to do. Must precede all other
/// calls.
private let withoutExitHandler: Void = { _ = H5dont_atexit() }()

/// What was being done when HDF5 failed; part of the error, so that it can be matched.
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

    /// Operations whose failure is the output's fault (a full disk), not the input's.
    static let writing: Set<String> = [
        createFile, flush, close, createGroup, createDataset, write, writeAttribute,
    ]
}

/// A file and a path inside it: where an error happened.
struct HDF5Location: Equatable, Sendable {
    let file: String
    var object: String

    init(_ file: String, _ object: String = "/") {
        self.file = file
        self.object = object
    }

    /// Runs one or more C calls whose last result is the status, and turns a negative status into an error that
    /// carries HDF5's first error record.
    ///
    /// - Parameters:
    ///   - operation: one of `HDF5Operation`.
    ///   - body: calls HDF5 and returns its status (`herr_t`, `htri_t`, `hid_t`, a count); must not throw or nest.
    /// - Returns: the status, >= 0.
    /// - Throws: `HDF5Error`, or `.writeFailed` where the system refused to write.
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
        if HDF5Operation.writing.contains(operation), let code = HDF5Location.systemError(in: cause) {
            throw FileError.writeFailed(path: file, code: code)
        }
        throw HDF5Error.failed(file: file, object: object, operation: operation, cause: cause)
    }

    /// The errno that HDF5 quotes where a system call failed: "... errno = 28, error message = ...".
    private static func systemError(in cause: String) -> Int32? {
        guard let start = cause.range(of: "errno = ")?.upperBound else { return nil }
        return Int32(cause[start...].prefix { $0.isNumber })
    }

    /// As `call`, for a call that returns a new identifier: owned by the returned handle.
    func open(
        _ operation: String, _ kind: HDF5Handle.Kind, _ body: () -> hid_t
    ) throws -> HDF5Handle {
        HDF5Handle(try call(operation, body), kind)
    }

    /// Runs calls whose failure is an answer and not an error.
    static func locked<Result>(_ body: () -> Result) -> Result {
        library.withLock { _ in
            withoutExitHandler
            bf_h5_silence()
            return body()
        }
    }

    private static func firstError() -> String {
        var text = [CChar](repeating: 0, count: 512)
        bf_h5_first_error(&text, text.count)
        let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        // Records of file operations carry line breaks and the time; an error is one line and the same on each run.
        var oneLine = String(decoding: bytes, as: UTF8.self).split { $0.isNewline }.joined(separator: " ")
        if let time = oneLine.range(of: "time = "), let end = oneLine[time.upperBound...].range(of: ", ") {
            oneLine.removeSubrange(time.lowerBound..<end.upperBound)
        }
        return oneLine.isEmpty ? "HDF5 gave no reason" : oneLine
    }
}

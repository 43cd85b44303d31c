// SPDX-License-Identifier: Apache-2.0
// The one door to the HDF5 library: every call of it, in this folder, goes through `HDF5Place.call`.

import CHDF5
import Synchronization

/// Serialises all calls: HDF5 is thread-safe only where it was built so, and its error stack must be read before the
/// same thread's next call. Never nested.
private let library = Mutex<Void>(())

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
struct HDF5Place: Equatable, Sendable {
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
    /// - Throws: `CheckpointError.hdf5`.
    @discardableResult
    func call<Status: FixedWidthInteger & SignedInteger>(
        _ operation: String, _ body: () -> Status
    ) throws(CheckpointError) -> Status {
        var cause = ""
        let status = HDF5Place.locked { () -> Status in
            let status = body()
            if status < 0 { cause = HDF5Place.firstError() }
            return status
        }
        if status < 0 { throw .hdf5(file: file, object: object, operation: operation, cause: cause) }
        return status
    }

    /// As `call`, for a call that returns a new identifier: owned by the returned handle.
    func open(
        _ operation: String, _ kind: HDF5Handle.Kind, _ body: () -> hid_t
    ) throws(CheckpointError) -> HDF5Handle {
        HDF5Handle(try call(operation, body), kind)
    }

    /// Runs calls whose failure is an answer and not an error.
    static func locked<Result>(_ body: () -> Result) -> Result {
        library.withLock { _ in
            bf_h5_silence()
            return body()
        }
    }

    private static func firstError() -> String {
        var text = [CChar](repeating: 0, count: 512)
        bf_h5_first_error(&text, text.count)
        let bytes = text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
        // File-open records carry line breaks and the time; an error is one line and the same on each run.
        let oneLine = String(decoding: bytes, as: UTF8.self).split { $0.isNewline }.joined(separator: " ")
        return oneLine.isEmpty ? "HDF5 gave no reason" : oneLine
    }
}

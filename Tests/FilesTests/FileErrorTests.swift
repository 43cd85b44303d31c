// SPDX-License-Identifier: Apache-2.0
// The category of every failure of the file system.

import Foundation
import Testing

@testable import Files

@Suite struct FileErrorTests {
    @Test(
        "each error has the category that decides on the exit status",
        arguments: [
            (FileError.missingFile(path: "m.h5"), .inputMissing),
            (.unreadable(path: "m.h5", code: EIO), .inputOutput),
            (.cannotCreate(path: "x/m.h5", code: ENOENT), .cannotCreate),
            (.inUse(path: "m.h5"), .cannotCreate),
            (.notALock(path: "m.h5.lock"), .cannotCreate),
            (.streamFailed(name: "standard output", code: ENOSPC), .inputOutput),
            (.writeFailed(path: "m.h5", code: ENOSPC, hadFile: false), .inputOutput),
            (.writeFailed(path: "m.h5", code: ENOSPC, hadFile: true), .inputOutput),
            (.appendFailed(path: "log/metrics.jsonl", code: ENOSPC), .inputOutput),
            (.wrongKind(path: "unet", expected: .hdf5, found: .folder), .badData),
        ] as [(FileError, ErrorCategory)])
    func categories(_ error: FileError, _ category: ErrorCategory) {
        #expect(error.category == category)
        #expect("\(error)".hasPrefix(error.path + ": "))
    }
}

extension FileError {
    fileprivate var path: String {
        switch self {
        case .missingFile(let path), .inUse(let path), .unreadable(let path, _), .cannotCreate(let path, _),
            .notALock(let path), .streamFailed(let path, _), .writeFailed(let path, _, _), .appendFailed(let path, _),
            .wrongKind(let path, _, _):
            path
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// The Hub's cache is made of links: a link to a file that is not there means an interrupted download, which is told
// apart from a file that does not belong to the model.

import Foundation

/// Whether something exists at a path.
enum FilePresence: Equatable {
    case missing
    case present
    case danglingLink(path: String, target: String)

    init(_ path: String) {
        var status = stat()
        if stat(path, &status) == 0 {
            self = .present
        } else if lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFLNK {
            let target = try? FileManager.default.destinationOfSymbolicLink(atPath: path)
            self = .danglingLink(path: path, target: target ?? "another file")
        } else {
            self = .missing
        }
    }

    /// - Throws: `WeightFilesError.danglingLink`.
    func exists() throws(WeightFilesError) -> Bool {
        if case .danglingLink(let path, let target) = self { throw .danglingLink(path: path, target: target) }
        return self == .present
    }
}

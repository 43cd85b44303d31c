// SPDX-License-Identifier: Apache-2.0
// All files below a folder, in an order that does not depend on the file system.

import Files
import Foundation

struct FolderListing {
    /// Paths below the folder, sorted by their bytes; hidden files and folders are left out.
    let files: [String]

    /// - Throws: `FileError` for a folder that cannot be read; `ImageTextError.linkOutside`.
    init(_ folder: String) throws {
        guard let walk = FileManager.default.enumerator(atPath: folder) else {
            throw FileError.unreadable(path: folder, code: errno)
        }
        let root = Self.realPath(folder) ?? folder
        var files: [String] = []
        while let path = walk.nextObject() as? String {
            let name = PathParts(path).name
            if name.hasPrefix(".") {
                walk.skipDescendants()
                continue
            }
            let full = folder + "/" + path
            switch walk.fileAttributes?[.type] as? FileAttributeType {
            case .typeDirectory?: continue
            case .typeSymbolicLink?:
                // A link to a file of the same folder is a second name; others could be anything on the machine.
                guard let target = Self.realPath(full), target.hasPrefix(root + "/") else {
                    throw ImageTextError.linkOutside(path: full)
                }
            default: break
            }
            files.append(path)
        }
        self.files = files.sorted(by: byBytes)
    }

    static func isImage(_ path: String) -> Bool {
        imageExtensions.contains { path.lowercased().hasSuffix("." + $0) }
    }

    private static func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}

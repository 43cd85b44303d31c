// SPDX-License-Identifier: Apache-2.0
// The parts of a path. The functions of Foundation crash on Linux for paths of one character.

import Foundation

/// The folder and the name of a path.
package struct PathParts {
    /// The part before the last slash; empty without a slash, "/" for items of the root folder.
    package let folder: String
    /// The last component.
    package let name: String

    package init(_ path: String) {
        guard let slash = path.lastIndex(of: "/") else {
            (folder, name) = ("", path)
            return
        }
        folder = slash == path.startIndex ? "/" : String(path[..<slash])
        name = String(path[path.index(after: slash)...])
    }

    /// The name without its extension. A leading dot does not start an extension.
    package var stem: String {
        guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return name }
        return String(name[..<dot])
    }

    /// The absolute path without symbolic links and without a slash at its end, also of a file that does not exist in a
    /// folder that exists; else `path`. Two spellings of one file have the same resolved path.
    package static func resolved(_ path: String) -> String {
        func real(_ path: String) -> String? {
            guard let real = realpath(path, nil) else { return nil }
            defer { free(real) }
            return String(cString: real)
        }
        if let existing = real(path) { return existing }
        var path = Substring(path)
        while path.count > 1, path.last == "/" { path.removeLast() }
        let parts = PathParts(String(path))
        guard let folder = real(parts.folder.isEmpty ? "." : parts.folder) else { return String(path) }
        return folder.hasSuffix("/") ? folder + parts.name : folder + "/" + parts.name
    }

    /// The path of `name` in the same folder.
    package func sibling(_ name: String) -> String {
        folder.isEmpty ? name : folder.hasSuffix("/") ? folder + name : folder + "/" + name
    }
}

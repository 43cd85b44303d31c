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

    /// The absolute path without symbolic links; `path` itself where nothing exists at it.
    static func resolved(_ path: String) -> String {
        guard let real = realpath(path, nil) else { return path }
        defer { free(real) }
        return String(cString: real)
    }

    /// The path of `name` in the same folder.
    package func sibling(_ name: String) -> String {
        folder.isEmpty ? name : folder.hasSuffix("/") ? folder + name : folder + "/" + name
    }
}

// SPDX-License-Identifier: Apache-2.0
// The parts of a path. Foundation's own functions for this end the program on Linux where a path is one character long.

/// A path as folder, name and extension.
package struct PathParts {
    /// What stands before the last slash; empty where there is none, "/" for the root's own children.
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

    /// The name without what stands behind its last dot, unless that is how it begins.
    package var stem: String {
        guard let dot = name.lastIndex(of: "."), dot != name.startIndex else { return name }
        return String(name[..<dot])
    }

    /// The path of `name` in the same folder.
    package func sibling(_ name: String) -> String {
        folder.isEmpty ? name : folder.hasSuffix("/") ? folder + name : folder + "/" + name
    }
}

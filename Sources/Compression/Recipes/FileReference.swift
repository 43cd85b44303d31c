// SPDX-License-Identifier: Apache-2.0
// A file by path and content, as manifests and documents name their inputs.

/// A file that a document was made from.
public struct FileReference: Hashable, Codable, Sendable {
    /// The path on the command line, or the name of an included model.
    public let path: String
    /// SHA-256 of the content: 64 lowercase hexadecimal digits.
    public let sha256: String

    /// Names a file.
    public init(path: String, sha256: String) {
        self.path = path
        self.sha256 = sha256
    }
}

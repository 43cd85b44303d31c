// SPDX-License-Identifier: Apache-2.0
// The temporary folder of a test, removed when the test ends.

import Foundation

/// A new folder that exists as long as this object.
public final class TemporaryFolder {
    public let path: String

    /// Creates a folder with a unique name in the system's temporary directory.
    public init() throws {
        path = NSTemporaryDirectory() + "bitsfusion-tests-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The path of `name` in this folder.
    public func file(_ name: String) -> String { path + "/" + name }

    /// The URL of `name` in this folder.
    public func url(_ name: String) -> URL { URL(fileURLWithPath: file(name)) }

    /// Writes a file, creates missing parent folders, and returns the path.
    @discardableResult
    public func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let target = url(name)
        try FileManager.default.createDirectory(
            at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: target)
        return file(name)
    }

    /// Writes a text file and returns its path.
    @discardableResult
    public func write(_ name: String, _ text: String) throws -> String { try write(name, Array(text.utf8)) }

    /// The names of all entries of this folder, hidden ones included, sorted.
    public var names: [String] { ((try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []).sorted() }

    /// The contents of the file `name`.
    public func data(_ name: String) throws -> Data { try Data(contentsOf: url(name)) }

    /// The contents of the file `name`.
    public func bytes(_ name: String) throws -> [UInt8] { [UInt8](try data(name)) }
}

extension TemporaryFolder {
    /// Calls `body` with a new folder and removes the folder when `body` returns.
    public static func with<Result>(_ body: (TemporaryFolder) throws -> Result) throws -> Result {
        let folder = try TemporaryFolder()
        return try withExtendedLifetime(folder) { try body(folder) }
    }
}

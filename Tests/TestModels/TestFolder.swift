// SPDX-License-Identifier: Apache-2.0
// A fresh folder per test, removed with it.

import Foundation

/// A folder that exists as long as this object.
public final class TestFolder {
    private let path: String

    /// Makes the folder.
    public init() throws {
        path = NSTemporaryDirectory() + "bitsfusion-models-\(UUID().uuidString)"
        try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The path of `name` in this folder.
    public func file(_ name: String) -> String { path + "/" + name }
}

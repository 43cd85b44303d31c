// SPDX-License-Identifier: Apache-2.0
// The folders in which a target's resources can be. SwiftPM copies them to a bundle next to the executable; an
// installation may use ../share/bitsfusion. SwiftPM's `Bundle.module` traps if the bundle is missing.

import Foundation

/// The places of resource files.
package enum ResourceFolders {
    /// The path of the resource `name` of `target`; nil if none of `candidates(name, of:)` exists.
    package static func path(of name: String, target: String) -> String? {
        candidates(name, target: target).first(where: FileManager.default.fileExists)
    }

    /// The paths at which the resource `name` of `target` is searched.
    package static func candidates(_ name: String, target: String) -> [String] {
        // Test runners load the program from a separate bundle.
        let tests = Bundle.allBundles.filter { $0.bundlePath.hasSuffix(".xctest") }
        let homes = [Bundle.main.bundleURL] + tests.map { $0.bundleURL.deletingLastPathComponent() }
        var folders: [URL] = []
        for home in homes {
            for bundle in ["bitsfusion_\(target).resources", "bitsfusion_\(target).bundle"] {
                let folder = home.appendingPathComponent(bundle)
                if FileManager.default.fileExists(atPath: folder.path) || folders.isEmpty {
                    folders.append(folder)
                }
            }
        }
        folders.append(Bundle.main.bundleURL.appendingPathComponent("../share/bitsfusion"))
        return folders.map { $0.appendingPathComponent(name).standardizedFileURL.path }
    }
}

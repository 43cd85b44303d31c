// SPDX-License-Identifier: Apache-2.0
//
// The models that come with the program, as files: the teacher of the shapes world and its image-text scorer.
// SwiftPM lays them into a bundle beside the executable; an installation may lay them into ../share/bitsfusion.

import BitsFusion
import Foundation

/// A shipped model that is not where the program looks.
public struct ShippedModelError: Error, Equatable, Sendable {
    /// The file's name.
    public let name: String
    /// Every path that was tried.
    public let searched: [String]

    public var description: String {
        "the shipped model \(name) is not installed; looked for \(searched.joined(separator: ", ")); "
            + "keep the executable beside its resource bundle, or give the path of a model file"
    }
}

/// Where the shipped models lie.
public enum ShippedModels {
    /// The word that stands for the teacher wherever a command takes a model.
    public static let teacherName = "shapes"

    /// The full-precision model of the shapes world, with its text encoder.
    ///
    /// - Throws: `ShippedModelError` where the program was moved away from its resources.
    public static func teacher() throws(ShippedModelError) -> String { try path(of: "teacher.h5") }

    /// The model that scores how well an image fits a prompt.
    ///
    /// - Throws: `ShippedModelError` where the program was moved away from its resources.
    public static func clipProxy() throws(ShippedModelError) -> String { try path(of: "clip-proxy.h5") }

    // SwiftPM's own `Bundle.module` traps where the bundle is missing; this must be an error that says what to do.
    private static func path(of name: String) throws(ShippedModelError) -> String {
        let candidates = folders.map { $0.appendingPathComponent(name).standardizedFileURL.path }
        guard let found = candidates.first(where: FileManager.default.fileExists) else {
            throw ShippedModelError(name: name, searched: candidates)
        }
        return found
    }

    private static var folders: [URL] {
        // Test runners load the program as a bundle of their own.
        let tests = Bundle.allBundles.filter { $0.bundlePath.hasSuffix(".xctest") }
        let homes = [Bundle.main.bundleURL] + tests.map { $0.bundleURL.deletingLastPathComponent() }
        var folders: [URL] = []
        for home in homes {
            for bundle in ["bitsfusion_ShapesWorld.resources", "bitsfusion_ShapesWorld.bundle"] {
                let folder = home.appendingPathComponent(bundle)
                if FileManager.default.fileExists(atPath: folder.path) || folders.isEmpty {
                    folders.append(folder)
                }
            }
        }
        folders.append(Bundle.main.bundleURL.appendingPathComponent("../share/bitsfusion"))
        return folders
    }
}

extension ShippedModelError: CategorizedError {
    public var category: ErrorCategory { .inputMissing }
}

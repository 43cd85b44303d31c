// SPDX-License-Identifier: Apache-2.0
// Registration of the shapes world, and the paths of the models that the program ships: the teacher and the CLIP-proxy.

import BitsFusion

/// A shipped model that was not found.
public struct ShippedModelError: Error, Equatable, Sendable {
    /// The file's name.
    public let name: String
    /// The paths that were tried.
    public let searched: [String]

    public var description: String {
        "the shipped model \(name) is not installed: expected one of \(searched.joined(separator: ", ")); "
            + "keep the executable next to its resource bundle, or pass the path of a model file"
    }
}

/// The paths of the shipped models.
public enum ShippedModels {
    /// The name of the teacher in arguments that take a model.
    public static let teacherName = "shapes"

    /// The full-precision model of the shapes world, with its text encoder.
    ///
    /// - Throws: `ShippedModelError` if the program was moved without its resources.
    public static func teacher() throws(ShippedModelError) -> String { try path(of: "teacher.h5") }

    /// The CLIP-proxy, which scores how well an image fits a prompt.
    ///
    /// - Throws: `ShippedModelError` if the program was moved without its resources.
    public static func clipProxy() throws(ShippedModelError) -> String { try path(of: "clip-proxy.h5") }

    private static func path(of name: String) throws(ShippedModelError) -> String {
        guard let found = ResourceFolders.path(of: name, target: "ShapesWorld") else {
            throw ShippedModelError(
                name: name, searched: ResourceFolders.candidates(name, target: "ShapesWorld"))
        }
        return found
    }
}

extension ShippedModelError: CategorizedError {
    public var category: ErrorCategory { .inputMissing }
}

/// Registers the shapes world with the library.
public enum ShapesWorldRegistration {
    /// Makes the tokenizer "shapes-words" available to models that record it. Calling it again has no effect.
    public static func register() {
        TokenizerRegistry.register(ShapesTokenizer.name) { modelMaxLength in
            guard modelMaxLength >= ShapesTokenizer.leastLength else {
                throw TokenizerError.length(
                    name: ShapesTokenizer.name, minimum: ShapesTokenizer.leastLength, found: modelMaxLength)
            }
            return ShapesTokenizer(length: modelMaxLength)
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// A recipe named on the command line: a file in any form, or FILE#NAME for one of several in an Apple analysis.

import BitsFusion
import Foundation

extension BitRecipe {
    /// Reads what `argument` names.
    ///
    /// - Throws: `RecipeError`.
    static func named(_ argument: String) throws -> BitRecipe {
        let file = file(of: argument)
        let name = argument == file ? nil : String(argument.dropFirst(file.count + 1))
        return try load(anyFormat: URL(fileURLWithPath: file), name: name)
    }

    /// The file of what `argument` names; one whose own name has a # is meant as it stands.
    static func file(of argument: String) -> String {
        guard !FileManager.default.fileExists(atPath: argument), let hash = argument.lastIndex(of: "#"),
            hash != argument.startIndex
        else { return argument }
        return String(argument[..<hash])
    }
}

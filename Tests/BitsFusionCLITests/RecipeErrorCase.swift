// SPDX-License-Identifier: Apache-2.0
// Recipe errors of each kind, and the status that the program ends with.

import BitsFusion

@testable import BitsFusionCLI

enum RecipeErrorCase: CaseIterable {
    case missing, unwritable, unreadable, faulty, faultyInFile

    var error: RecipeError {
        switch self {
        case .missing: .fileMissing
        case .unwritable: .unwritable(reason: "full")
        case .unreadable: .unreadable(reason: "denied")
        case .faulty: .unknownLayer(path: "a")
        case .faultyInFile: .inFile(name: "x.json", .fileMissing)
        }
    }

    var status: Int32 { ExitStatus(error.category).rawValue }
}

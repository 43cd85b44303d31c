// SPDX-License-Identifier: Apache-2.0
// `bitsfusion version`.

import ArgumentParser
import BitsFusion

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version",
        abstract: "Print the version.",
        discussion: """
            Example:

              bitsfusion version
            """)

    func run() throws {
        Output.line(toolVersion)
    }
}

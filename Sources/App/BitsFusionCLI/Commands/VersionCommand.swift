// SPDX-License-Identifier: Apache-2.0
// `bitsfusion version`: prints the version.

import ArgumentParser
import BitsFusion

struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version",
        abstract: "Print the version.",
        usage: "bitsfusion version",
        discussion: """
            Prints the version number alone, as `bitsfusion --version` does.

            Examples:

              bitsfusion version
              bitsfusion --version
            """)

    func run() throws {
        Output.line(toolVersion)
    }
}

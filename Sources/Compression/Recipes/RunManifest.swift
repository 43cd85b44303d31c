// SPDX-License-Identifier: Apache-2.0
// What produced a file: enough to run it again. There is no date or host, so that the same run writes the same bytes.

/// The provenance of a written file.
public struct RunManifest: Hashable, Codable, Sendable {
    /// The version of this program, such as `0.1.0`.
    public let toolVersion: String
    /// The arguments as given, the program's name first.
    public let commandLine: [String]
    /// The seed of the run's random numbers, nil where it drew none.
    public let seed: UInt64?
    /// The files that were read, in the order of reading.
    public let inputs: [FileReference]

    /// Describes one run.
    public init(toolVersion: String, commandLine: [String], seed: UInt64?, inputs: [FileReference]) {
        self.toolVersion = toolVersion
        self.commandLine = commandLine
        self.seed = seed
        self.inputs = inputs
    }
}

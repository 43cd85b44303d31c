// SPDX-License-Identifier: Apache-2.0
// The report of `info` for a training set: samples by size, captions, and how the set was made.

import BitsFusion
import Foundation

/// The output of `info` for a latent set; `--json` prints it as JSON.
struct LatentSetReport: Encodable {
    /// The samples with latents of one size.
    struct Group: Encodable {
        let height, width, channels, samples: Int
        /// Whether mean and variance are stored; otherwise the latents themselves.
        let hasVariance: Bool
    }

    let name: String
    let samples: Int
    let captions: Int
    let groups: [Group]
    let settings: LatentSetSettings
    let skipped: [SkippedSample]
    /// The captions of the first sample.
    let firstCaptions: [String]
    let fileBytes: Int

    /// The report of the set at `path`.
    ///
    /// - Throws: as `LatentSetReader.init(_:)`.
    init(_ path: String) throws {
        let set = try LatentSetReader(path)
        name = path
        samples = set.count
        captions = set.captionCount
        groups = set.groups.map {
            Group(
                height: $0.height, width: $0.width, channels: $0.channels, samples: $0.count,
                hasVariance: $0.hasLogvar)
        }
        settings = set.settings
        skipped = set.skipped
        firstCaptions = try set.description(0, of: set.groups[0]).captions
        fileBytes = Numbers.fileSize(path)
    }

    /// Prints the report as text.
    func print() {
        Output.line("\(name) (bitsfusion-latents)")
        Output.line("  samples        \(Numbers.grouped(samples)), \(Numbers.grouped(captions)) captions")
        for group in groups {
            Output.line(
                "                 \(Numbers.grouped(group.samples)) of \(group.channels) x \(group.height) x "
                    + "\(group.width)" + (group.hasVariance ? ", mean and log variance" : ""))
        }
        if !settings.trajectoryTimesteps.isEmpty {
            let times = settings.trajectoryTimesteps.map { Numbers.fixed(Double($0), 0) }
            Output.line("  trajectories   states at timesteps \(times.joined(separator: ", "))")
        }
        if settings.conditionChannels > 0 {
            Output.line("  conditions     \(settings.conditionChannels) channels")
        }
        Output.line("  first caption  \(firstCaptions[0])")
        let options = settings.options.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }
        Output.line("  made with      \(options.joined(separator: ", "))")
        Output.line("  skipped        \(skipped.count)" + (skipped.first.map { ", the first: \($0.reason)" } ?? ""))
        Output.line("  file           \(Numbers.grouped(fileBytes)) bytes (\(Numbers.bytes(fileBytes)))")
    }
}

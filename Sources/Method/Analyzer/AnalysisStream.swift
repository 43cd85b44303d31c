// SPDX-License-Identifier: Apache-2.0
// The random streams of an analysis, in one table, so that no two draws share numbers.

/// The Philox streams of an analysis.
///
/// | stream | seed | what it draws |
/// |---|---|---|
/// | 0 | the image's | initial noise of images (`DiffusionPipeline.initialNoise`) |
/// | 0xF15 + n | index of the part | signs of the n-th backward pass of a part, for `fisher` |
/// | 0x4E01 | the image's | timesteps at which candidates are measured |
/// | 0x4E02 | the image's | noise of these samples |
/// | 0x7E01 | the image's | timesteps at which candidates are fine-tuned |
/// | 0x7E02 | the image's | noise of these samples |
///
/// `fisher` may have 0x4E01 - 0xF15 = 16,108 backward passes per part before its streams meet the others.
package enum AnalysisStream {
    /// The samples on which candidates are measured.
    case measuring
    /// The samples on which candidates are fine-tuned; they differ from those of the measurement.
    case tuning

    /// The stream of the samples' timesteps.
    package var timesteps: UInt64 {
        switch self {
        case .measuring: 0x4E01
        case .tuning: 0x7E01
        }
    }

    /// The stream of the samples' noise.
    package var noise: UInt64 { timesteps + 1 }

    /// The stream of the signs of backward pass `probe`, counted from 0.
    package static func signs(probe: Int) -> UInt64 { 0xF15 + UInt64(probe) }
}

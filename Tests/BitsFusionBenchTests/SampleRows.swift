// SPDX-License-Identifier: Apache-2.0
// Rows with simple numbers.

import BitsFusion
import Testing

@testable import BitsFusionBench

/// The record of a side with these measurements and a peak of 123 MB.
func sampleRecord(_ milliseconds: Double...) throws -> SideRecord {
    let samples = milliseconds.map { $0 / 1000 }
    return SideRecord(
        samples: samples, statistics: try #require(SampleStatistics(samples)), peakBytes: 123_000_000)
}

/// 5 ms compared with 10 ms in Float32; the results differ by `difference` of the largest value.
func sampleRow(
    difference: Float = 0, target: Double? = nil, isLoaded: Bool = false, peakLimit: Int? = nil,
    choice: ChoiceRecord? = nil
) throws -> BenchmarkRow {
    let twin = TwinRecord(
        type: .float32, record: try sampleRecord(10),
        difference: ResultDifference(
            ["output": Tensor([1 - difference], shape: [1])], ["output": Tensor([1], shape: [1])],
            type: .float32),
        tolerance: 1e-4, ratio: 0.5, target: target)
    return BenchmarkRow(
        name: "case", group: .kernels, ours: try sampleRecord(4, 5, 6), twins: [twin], operations: 1e9,
        bytes: nil, peakLimit: peakLimit, shareOfCeiling: 0.25,
        backgroundLoad: BackgroundLoad(
            foreignLoad: 0.01, idleLoad: 0, isLoaded: isLoaded, droppedRounds: 0),
        isAlternating: true, curve: nil, choice: choice)
}

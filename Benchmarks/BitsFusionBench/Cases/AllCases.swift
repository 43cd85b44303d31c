// SPDX-License-Identifier: Apache-2.0
// Every benchmark, in the order in which they run.

extension BenchmarkCase {
    static var all: [BenchmarkCase] {
        ConvolutionCases.all + ProductCases.all + PassCases.all + ForwardCases.all + TrainingCases.all
            + StageOneCases.all + PackedCases.all + AnalysisCases.all + AllocationCases.all
    }
}

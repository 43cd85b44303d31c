// SPDX-License-Identifier: Apache-2.0
// The exact allocation of a bit budget, and the growth of its time with the number of layers. Without PyTorch.

import BitsFusion

enum AllocationCases {
    static var all: [BenchmarkCase] { [256, 1000, 4000, 10_000].map(optimal) }

    private static func optimal(layers: Int) -> BenchmarkCase {
        BenchmarkCase(
            name: "allocate optimal, \(layers) layers x 8 bit widths", group: .allocate, operation: "", twins: [],
            curve: CurvePoint(curve: "exact allocation", unit: "layers", count: layers)
        ) {
            let (table, budget) = (table(layers: layers), BitBudget(averageBits: 1.99))
            let allocate = { try allocateBits(table, budget: budget, method: .optimal) }
            return Workload(
                inputs: [:], pass: { _ = try allocate() },
                results: {
                    let found = try allocate()
                    guard let bound = found.lowerBound, bound == found.predictedError else {
                        throw BenchmarkError.unproven(name: "\(layers) layers")
                    }
                    return ["sensitivity": Tensor([Float(bound)], shape: [1])]
                })
        }
    }

    /// Layers with the sizes of Stable Diffusion 1.5, and random sensitivities at 1 to 8 bits that decrease about
    /// fourfold per bit.
    private static func table(layers: Int) -> SensitivityTable {
        let sizes = [
            102_400, 245_760, 409_600, 819_200, 921_600, 983_040, 1_638_400, 1_843_200, 3_276_800, 3_686_400,
            6_553_600, 7_372_800, 13_107_200, 14_745_600, 22_118_400, 29_491_200,
        ]
        var random = Philox(seed: UInt64(layers))
        let numbers = random.uniform([layers * 10]).values
        return SensitivityTable(
            layers: (0..<layers).map { index in
                let layerNumbers = numbers[index * 10..<index * 10 + 10].map(Double.init)
                let size = sizes[min(Int(layerNumbers[0] * Double(sizes.count)), sizes.count - 1)]
                var bits: [BitWidth: SensitivityScores] = [:]
                var sensitivity = 1e-3 * layerNumbers[1] * layerNumbers[1]
                for (nominalBits, factor) in zip(BitWidth.all, layerNumbers[2...]) {
                    bits[nominalBits] = SensitivityScores(mse: sensitivity)
                    sensitivity *= 0.2 + 0.1 * factor
                }
                return LayerSensitivity(
                    path: LayerID("layer.\(index)"), kind: .linear, role: .searched, group: .other, weights: size,
                    skewness: 0, bits: bits)
            })
    }
}

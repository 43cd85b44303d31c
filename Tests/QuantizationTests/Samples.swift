// SPDX-License-Identifier: Apache-2.0
// Seeded weights and the naive arithmetic that the tests of this target compare with.

import Foundation
import Recipes
import Tensors

@testable import Quantization

/// Standard normal values times `deviation`, different for each `stream`.
func normal(_ shape: [Int], deviation: Float = 1, stream: UInt64 = 0) -> Tensor {
    var random = Philox(seed: 4333, stream: stream)
    return random.normal(shape) * deviation
}

/// Rounding to a grid by its definition, one output channel at a time, in Double.
struct NaiveChannel {
    let weights: [Double]
    /// Q, the largest code.
    let largest: Double

    init(_ weights: [Float], _ grid: QuantizationGrid) {
        self.weights = weights.map(Double.init)
        largest = Double(grid.maximumCode)
    }

    /// clip(round(w / s)), half to even.
    func codes(_ scale: Double) -> [Double] {
        weights.map { min(max(($0 / scale).rounded(.toNearestOrEven), -largest), largest) }
    }

    /// ‖s·q − w‖² with the codes that `scale` gives.
    func error(_ scale: Double) -> Double {
        zip(codes(scale), weights).reduce(0) { $0 + pow(scale * $1.0 - $1.1, 2) }
    }

    /// max|w| / Q.
    var minMaxScale: Double { weights.reduce(0) { max($0, abs($1)) } / largest }

    /// `rounds` rounds of q = clip(round(w / s)), s = ⟨w, q⟩ / ⟨q, q⟩ from min-max.
    func alternatingScale(rounds: Int) -> Double {
        var scale = minMaxScale
        for _ in 0..<rounds {
            let codes = codes(scale)
            let products = zip(codes, weights).reduce((0.0, 0.0)) {
                ($0.0 + $1.0 * $1.1, $0.1 + $1.0 * $1.0)
            }
            scale = products.0 / products.1
        }
        return scale
    }
}

extension Tensor {
    /// The rows of `[OC, ...]`.
    var rows: [[Float]] {
        let width = count / shape[0]
        let values = values
        return (0..<shape[0]).map { Array(values[$0 * width..<($0 + 1) * width]) }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Seeded inputs for the tests of this target.

@testable import Tensors

/// Standard normal values, different for each `stream`.
func normal(_ shape: [Int], stream: UInt64 = 0) -> Tensor {
    var random = Philox(seed: 20_240_606, stream: stream)
    return random.normal(shape)
}

/// Uniform values in `low ..< high`.
func uniform(_ shape: [Int], _ low: Float, _ high: Float, stream: UInt64 = 0) -> Tensor {
    var random = Philox(seed: 4333, stream: stream)
    return random.uniform(shape) * (high - low) + low
}

/// `0, 1, ... n - 1`, shape `[n]`.
func arange(_ n: Int) -> Tensor { Tensor((0..<n).map(Float.init), shape: [n]) }

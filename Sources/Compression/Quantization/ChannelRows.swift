// SPDX-License-Identifier: Apache-2.0
// Loops over the rows of weights `[OC, ...]`, one row per output channel, on all threads.

import Tensors

/// Minimum number of weights of a task in loops over rows.
let weightsPerTask = 1 << 15

/// The number of rows of `weight` and their length.
///
/// - Precondition: `scales` is `[OC]` for a weight `[OC, ...]`.
func checkedRows(_ weight: Tensor, _ scales: Tensor) -> (channels: Int, rowLength: Int) {
    precondition(
        weight.rank >= 1 && scales.shape == [weight.shape[0]],
        "quantization: scales \(scales.shape) for weight \(weight.shape): one per output channel is needed")
    let channels = weight.shape[0]
    return (channels, channels == 0 ? 0 : weight.count / channels)
}

/// Calls `body` with the index of every row, on all threads.
func forEachRow(_ channels: Int, _ rowLength: Int, _ body: (Int) -> Void) {
    Threads.parallelFor(channels, grain: Threads.rowGrain(rowLength, elements: weightsPerTask)) { range in
        for channel in range { body(channel) }
    }
}

extension Tensor {
    /// The address of the element at `offset`, for reading; valid during the lifetime of the tensor.
    func row(_ offset: Int) -> UnsafePointer<Float> { UnsafePointer(pointer + offset) }

    /// The address of the element at `offset`, for writing to a new tensor; valid during the lifetime of the tensor.
    func mutableRow(_ offset: Int) -> UnsafeMutablePointer<Float> { mutablePointer + offset }
}

// SPDX-License-Identifier: Apache-2.0
// Passes over the rows of weights `[OC, ...]`, one row per output channel, on all threads.

import Tensors

/// The number of rows of `weight` and their length, checked against the scales.
func checkedRows(_ weight: Tensor, _ scales: Tensor) -> (channels: Int, rowLength: Int) {
    precondition(
        weight.rank >= 1 && scales.shape == [weight.shape[0]],
        "quantization: scales \(scales.shape) for weight \(weight.shape): one per output channel is needed")
    let channels = weight.shape[0]
    return (channels, channels == 0 ? 0 : weight.count / channels)
}

func forEachRow(_ channels: Int, _ rowLength: Int, _ body: (Int) -> Void) {
    Threads.parallelFor(channels, grain: max((1 << 15) / max(rowLength, 1), 1)) { range in
        for channel in range { body(channel) }
    }
}

extension Tensor {
    /// The address of the element at `offset`, for reading; valid while the tensor lives.
    func row(_ offset: Int) -> UnsafePointer<Float> { UnsafePointer(pointer + offset) }

    /// The address of the element at `offset`, for writing to a tensor that this function made.
    func mutableRow(_ offset: Int) -> UnsafeMutablePointer<Float> { mutablePointer + offset }
}

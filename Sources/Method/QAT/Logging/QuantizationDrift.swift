// SPDX-License-Identifier: Apache-2.0
// How far quantized weights have moved since a run was started or resumed: codes that differ, and scales.

import Foundation
import Quantization
import Tensors

/// Compares codes and scales with those at the time of its creation.
///
/// A layer with many weights is represented by some of its output channels, so that a comparison takes milliseconds and
/// little memory.
public final class QuantizationDrift {
    private struct Layer {
        let weight: FakeQuantizedWeight
        let channels: [Int]
        let codes: [Int16]
        let scales: [Float]
    }

    private let layers: [Layer]

    /// Weights of a layer that are compared, about.
    private static let sampleSize = 1 << 14

    public init(of weights: [FakeQuantizedWeight]) {
        layers = weights.map { weight in
            let count = weight.shape[0], length = max(weight.latent.value.count / max(count, 1), 1)
            let step = max(count * length / Self.sampleSize, 1)
            let channels = Array(stride(from: 0, to: count, by: step))
            return Layer(
                weight: weight, channels: channels, codes: Self.codes(of: weight, channels),
                scales: weight.scales.values)
        }
    }

    /// The share of codes that differ from the first ones, and the mean of |log2(scale / first scale)|, over all
    /// layers.
    public func measured() -> (changedCodes: Double, scaleDrift: Double) {
        var (changed, codes, drift, scales) = (0, 0, 0.0, 0)
        for layer in layers {
            let current = Self.codes(of: layer.weight, layer.channels)
            changed += zip(current, layer.codes).count { $0 != $1 }
            codes += current.count
            for (scale, first) in zip(layer.weight.scales.values, layer.scales) {
                drift += abs(log2(Double(scale / first)))
            }
            scales += layer.scales.count
        }
        return (Double(changed) / Double(max(codes, 1)), drift / Double(max(scales, 1)))
    }

    private static func codes(of weight: FakeQuantizedWeight, _ channels: [Int]) -> [Int16] {
        func rows(_ tensor: Tensor) -> Tensor {
            .concatenated(channels.map { tensor.sliced(axis: 0, $0..<$0 + 1) }, axis: 0)
        }
        return withoutGradients {
            GridQuantizer.codes(of: rows(weight.latent.value), scales: rows(weight.scales), grid: weight.grid)
        }
    }
}

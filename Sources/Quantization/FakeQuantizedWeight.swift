// SPDX-License-Identifier: Apache-2.0
// The weight of a student layer: full-precision latent values and trained scales, seen through the grid.

import Recipes
import Tensors

/// A trainable weight that the layer sees quantized.
public final class FakeQuantizedWeight: WeightSource, @unchecked Sendable {
    /// The latent full-precision weight, under the layer's own key.
    public let latent: Parameter
    /// One scale per output channel, named `<key>.scale`.
    public let scales: Parameter
    public let grid: BalancedGrid

    /// - Precondition: `scales` is `[OC]` for a latent `[OC, ...]`.
    public init(latent: Parameter, scales: Parameter, grid: BalancedGrid) {
        precondition(
            scales.shape == [latent.shape[0]],
            "\(latent.name): scales \(scales.shape) for weight \(latent.shape)")
        self.latent = latent
        self.scales = scales
        self.grid = grid
    }

    /// Quantizes `latent` with freshly initialised scales.
    public convenience init(latent: Parameter, width: BitWidth, initialization: ScaleInitialization) {
        let grid = BalancedGrid(width)
        let scales = initialization.scales(of: latent.value, grid: grid)
        self.init(latent: latent, scales: Parameter(latent.name + ".scale", scales), grid: grid)
    }

    public var shape: [Int] { latent.shape }
    public var parameters: [Parameter] { [latent, scales] }

    /// The scales that the layer computes with, off the tape: `[OC]`, each > 0.
    public var usedScales: Tensor { usableScales.detached() }

    public func tensor() -> Tensor { fakeQuantize(latent.tensor(), scales: usableScales, grid: grid) }

    /// The codes that the layer sees now, row-major.
    public var codes: [Int16] {
        BalancedQuantizer.codes(of: latent.value, scales: usedScales, grid: grid)
    }

    /// An optimizer's step may carry a tiny scale to zero or below; the layer never sees that. Initial scales are
    /// normal numbers and pass unchanged.
    private var usableScales: Tensor {
        let smallest = Float.leastNormalMagnitude
        scales.value.withUnsafeMutableBufferPointer { values in
            for index in values.indices where !(values[index] >= smallest) { values[index] = smallest }
        }
        return scales.tensor()
    }
}

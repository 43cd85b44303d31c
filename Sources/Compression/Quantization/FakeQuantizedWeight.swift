// SPDX-License-Identifier: Apache-2.0
// The weight of a student layer: full-precision latent values and trained scales, rounded to the grid.

import Recipes
import Tensors

/// A trainable weight that is quantized in each forward pass.
public final class FakeQuantizedWeight: QuantizedWeight, @unchecked Sendable {
    /// The latent full-precision weight, with the key of the layer's weight.
    public let latent: Parameter
    /// The trained scales, `[OC]`, with the key `<key>.scale`. After a training step they may be zero or negative; see
    /// `scales`.
    public let scaleParameter: Parameter
    public let grid: QuantizationGrid

    /// - Precondition: `scales` is `[OC]` for a latent `[OC, ...]`.
    public init(latent: Parameter, scales: Parameter, grid: QuantizationGrid) {
        precondition(
            scales.shape == [latent.shape[0]],
            "\(latent.name): scales \(scales.shape) for weight \(latent.shape)")
        self.latent = latent
        scaleParameter = scales
        self.grid = grid
    }

    /// Quantizes `latent` with initial scales.
    public convenience init(latent: Parameter, bits: BitWidth, initialization: ScaleInitialization) {
        self.init(latent: latent, grid: QuantizationGrid(bits), initialization: initialization)
    }

    /// Quantizes `latent` with newly initialized scales on `grid`.
    public convenience init(latent: Parameter, grid: QuantizationGrid, initialization: ScaleInitialization) {
        let scales = initialization.scales(of: latent.value, grid: grid)
        self.init(latent: latent, scales: Parameter(latent.name + ".scale", scales), grid: grid)
    }

    public var shape: [Int] { latent.shape }
    public var parameters: [Parameter] { [latent, scaleParameter] }

    /// The scales used by the layer, `[OC]`, each > 0, off the tape.
    public var scales: Tensor { usableScales.detached() }

    public func tensor() -> Tensor { lazyTensor().materialized() }

    public func lazyTensor() -> Tensor {
        fakeQuantizedOperand(latent.tensor(), scales: usableScales, grid: grid)
    }

    /// The codes of the current values, row-major.
    public var codes: [Int16] {
        GridQuantizer.codes(of: latent.value, scales: scales, grid: grid)
    }

    /// The smallest scale used by layers. Optimizers should keep `scaleParameter` at or above it.
    public static let smallestScale = Float.leastNormalMagnitude

    /// The scales, raised to `smallestScale`. The parameter is not changed, so that reading a weight has no side
    /// effects.
    private var usableScales: Tensor {
        let trained = scaleParameter.tensor()
        let values = trained.values
        guard values.contains(where: { !($0 >= Self.smallestScale) }) else { return trained }
        let raised = values.map { $0 >= Self.smallestScale ? $0 : Self.smallestScale }
        return .custom(
            "usableScales", inputs: [trained], output: Tensor(raised, shape: trained.shape)
        ) { [$0] }
    }
}

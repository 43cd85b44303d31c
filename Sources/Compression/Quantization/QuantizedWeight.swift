// SPDX-License-Identifier: Apache-2.0
// The common form of quantized weights: codes on a grid with one scale per output channel.
// OC output channels.

import Recipes
import Tensors

/// A weight with the values `scales · codes`, in training (`FakeQuantizedWeight`) or from packed codes
/// (`PackedWeight`).
public protocol QuantizedWeight: WeightSource {
    /// The grid of the codes.
    var grid: QuantizationGrid { get }
    /// `[OC]`, each > 0, not differentiable.
    var scales: Tensor { get }
    /// The signed codes, row-major, as many as weights.
    var codes: [Int16] { get }
}

extension QuantizedWeight {
    /// The entropy of the codes, in bits per weight: the size of ideally coded weights, at most log2(levels).
    public var codeEntropy: Double { CodeRate.entropy(of: codes, on: grid) }
}

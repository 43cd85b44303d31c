// SPDX-License-Identifier: Apache-2.0
// Rate and error of a layer's weights on one grid: a point of the layer's rate-distortion curve. `analyze` computes
// the points from the weights alone; `allocate --method entropy` chooses among them.

/// The entropy of the codes of a layer and the error of its weights, on one grid and before training.
public struct CodeRate: Hashable, Codable, Sendable {
    /// The nominal bits of the grid.
    public let bits: BitWidth
    /// The dead zone of the grid, in 0.5 ..< 1.
    public let deadZone: Float
    /// Entropy of the codes, in bits per weight: the size of ideally coded weights, at most log2(levels).
    public let entropy: Double
    /// ‖s·q − w‖² / ‖w‖², >= 0; 0 for a layer of zeros.
    public let weightError: Double

    public init(bits: BitWidth, deadZone: Float, entropy: Double, weightError: Double) {
        (self.bits, self.deadZone, self.entropy, self.weightError) = (bits, deadZone, entropy, weightError)
    }
}

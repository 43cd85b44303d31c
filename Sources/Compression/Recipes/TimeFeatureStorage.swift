// SPDX-License-Identifier: Apache-2.0
// What becomes of the time layers when a model is packed (BitsFusion, arXiv 2406.04333, section 4.1, time caching).

/// Whether time features are cached or the layers that make them are kept.
public enum TimeFeatureStorage: Hashable, Sendable {
    /// The features of `steps` inference steps are stored at 16 bits and the time layers are dropped.
    case cached(steps: Int)
    /// The time layers stay, at 32 bits, as models need whose time features depend on more than the timestep.
    case layersKept

    /// The paper's setting: 50 steps.
    public static let paper = TimeFeatureStorage.cached(steps: 50)

    /// The number of cached steps; 0 where the layers stay.
    public var cachedSteps: Int {
        switch self {
        case .cached(let steps): steps
        case .layersKept: 0
        }
    }

    /// Bits of one cached time feature.
    public static let bitsPerFeature = 16

    /// What is stored for the time layers of a model.
    ///
    /// - Returns: the number of values and the bits of each.
    public func values(of inventory: ModelInventory) -> (count: Int, bitsPerValue: Int) {
        switch self {
        case .cached(let steps):
            (steps * inventory.timeFeaturesPerStep, Self.bitsPerFeature)
        case .layersKept:
            (inventory.timeLayers.reduce(0) { $0 + $1.weights }, 32)
        }
    }
}

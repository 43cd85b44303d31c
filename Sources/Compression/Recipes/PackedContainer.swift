// SPDX-License-Identifier: Apache-2.0
// What a packed file takes beside the numbers that a recipe decides about: the HDF5 structure, the texts at its root
// and the text encoder. It depends on the model alone, so that a table of sensitivities can carry it to where sizes are
// forecast.

/// Bytes of a model's packed file beside codes, scales, time features (or time layers) and the UNet's other parameters.
public struct PackedContainer: Hashable, Codable, Sendable {
    /// The structure and the texts where time features are cached, without the list of timesteps.
    public let cached: Int
    /// The same where the time layers are kept.
    public let layersKept: Int
    /// The text encoder's parameters.
    public let textEncoder: Int

    /// Bytes of one entry of the list of cached timesteps.
    public static let bytesPerTimestep = 8

    public init(cached: Int, layersKept: Int, textEncoder: Int) {
        self.cached = cached
        self.layersKept = layersKept
        self.textEncoder = textEncoder
    }

    /// All of it, for a way of storing time features.
    public func bytes(_ storage: TimeFeatureStorage) -> Int { structure(storage) + textEncoder }

    /// Without the text encoder.
    public func structure(_ storage: TimeFeatureStorage) -> Int {
        switch storage {
        case .cached(let steps): cached + steps * Self.bytesPerTimestep
        case .layersKept: layersKept
        }
    }
}

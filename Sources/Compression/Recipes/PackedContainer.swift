// SPDX-License-Identifier: Apache-2.0
// The bytes of a packed file that do not depend on the recipe: the HDF5 structure, the documents of the header, and the
// dense parameters of text encoders and autoencoder. They depend only on the model. Sensitivity tables contain them,
// so that the allocation can forecast file sizes without the model.

/// The bytes of a packed file in addition to codes, scales, time features or time layers, and the other parameters of
/// the denoiser.
public struct PackedContainer: Hashable, Codable, Sendable {
    /// The bytes of structure and documents if time features are cached, without the list of timesteps.
    public let cached: Int
    /// The bytes of structure and documents if the time layers are kept.
    public let layersKept: Int
    /// The bytes of the dense parameters of text encoders and autoencoder.
    public let components: Int

    /// The bytes of a cached timestep.
    public static let bytesPerTimestep = 8

    public init(cached: Int, layersKept: Int, components: Int) {
        self.cached = cached
        self.layersKept = layersKept
        self.components = components
    }

    /// The total number of bytes.
    public func bytes(_ storage: TimeFeatureStorage) -> Int { structure(storage) + components }

    /// The bytes without text encoders and autoencoder.
    public func structure(_ storage: TimeFeatureStorage) -> Int {
        switch storage {
        case .cached(let steps): cached + steps * Self.bytesPerTimestep
        case .layersKept: layersKept
        }
    }
}

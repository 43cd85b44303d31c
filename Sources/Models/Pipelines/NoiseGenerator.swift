// SPDX-License-Identifier: Apache-2.0
// The random numbers of one image.

import Tensors

/// The generators of random numbers for sampling. Raw values are the names on the command line.
public enum RandomNumberKind: String, Codable, Sendable, CaseIterable {
    /// This library's counter-based generator.
    case philox
    /// The numbers of `torch.Generator("cpu").manual_seed(seed)`, with which diffusers makes the same image.
    case torch
}

/// A stream of standard normal numbers.
public enum NoiseGenerator {
    case philox(Philox)
    case torch(TorchGenerator)

    public init(_ kind: RandomNumberKind, seed: UInt64) {
        switch kind {
        case .philox: self = .philox(Philox(seed: seed))
        case .torch: self = .torch(TorchGenerator(seed: seed))
        }
    }

    /// The next standard normal numbers, of `shape`.
    public mutating func normal(_ shape: [Int]) -> Tensor {
        switch self {
        case .philox(var random):
            defer { self = .philox(random) }
            return random.normal(shape)
        case .torch(var random):
            defer { self = .torch(random) }
            return random.normal(shape)
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// What size accounting and allocation need to know of a linear or convolution layer: name, shape, role and group.
// OC output channels, IC input channels, KH KW kernel.

/// A linear or convolution layer without values.
public struct LayerShape: Hashable, Codable, Sendable {
    /// The two kinds of layer that BitsFusion quantizes.
    public enum Kind: String, Codable, Sendable, CaseIterable {
        case linear
        case conv2d

        /// The number of axes of the weight: 2 for `[OC, IC]`, 4 for `[OC, IC, KH, KW]`.
        public var weightRank: Int {
            switch self {
            case .linear: 2
            case .conv2d: 4
            }
        }

        /// The kind of layer whose weight has `weightRank` axes; nil where there is none.
        public init?(weightRank: Int) {
            guard let kind = Self.allCases.first(where: { $0.weightRank == weightRank }) else { return nil }
            self = kind
        }
    }

    /// The diffusers module path.
    public let path: LayerID
    public let kind: Kind
    /// `[OC, IC]` of a linear layer, `[OC, IC, KH, KW]` of a convolution; every extent is positive.
    public let shape: [Int]
    /// Whether the layer has a bias `[OC]`.
    public let hasBias: Bool
    /// What quantization does with the layer.
    public let role: LayerRole
    /// The group that its sensitivity is summed in.
    public let group: LayerGroup

    enum CodingKeys: String, CodingKey {
        case path, kind, shape, role, group
        case hasBias = "bias"
    }

    /// Describes one layer.
    ///
    /// - Precondition: `shape` has the kind's number of axes, all positive.
    public init(path: LayerID, kind: Kind, shape: [Int], hasBias: Bool, role: LayerRole, group: LayerGroup) {
        precondition(
            shape.count == kind.weightRank && shape.allSatisfy { $0 > 0 },
            "LayerShape: \(path): shape \(shape) is not a \(kind.rawValue) weight of \(kind.weightRank) axes")
        self.path = path
        self.kind = kind
        self.shape = shape
        self.hasBias = hasBias
        self.role = role
        self.group = group
    }

    /// Reads one layer of a document.
    ///
    /// - Throws: `RecipeError.malformed` where the shape is not one of the layer's kind.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        path = try container.decode(LayerID.self, forKey: .path)
        kind = try container.decode(Kind.self, forKey: .kind)
        shape = try container.decode([Int].self, forKey: .shape)
        hasBias = try container.decode(Bool.self, forKey: .hasBias)
        role = try container.decode(LayerRole.self, forKey: .role)
        group = try container.decode(LayerGroup.self, forKey: .group)
        guard shape.count == kind.weightRank, shape.allSatisfy({ $0 > 0 }) else {
            throw RecipeError.malformed(
                location: path.rawValue,
                reason: "shape \(shape) is not a \(kind.rawValue) weight of \(kind.weightRank) positive axes")
        }
    }

    /// N: the number of weights, without the bias.
    public var weights: Int { shape.reduce(1, *) }

    /// OC, which is also the number of scales of the quantized layer.
    public var outputChannels: Int { shape[0] }
}

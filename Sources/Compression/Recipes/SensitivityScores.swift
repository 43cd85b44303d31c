// SPDX-License-Identifier: Apache-2.0
// The scores of one measurement: one layer quantized alone to one bit width (BitsFusion, arXiv:2406.04333, Algorithm
// 1, parts 1 and 2), and the names under which documents, correlations and reports list them.

/// One of the scores of a measurement.
public enum SensitivityMetric: String, Codable, Sendable, CaseIterable {
    /// Mean squared error of the images, in units of the data range; >= 0.
    case mse
    /// Peak signal-to-noise ratio of the images, dB; the only metric of which less is worse.
    case psnr
    /// Perceptual distance of the images, over the feature maps of an image encoder; >= 0.
    case perceptual
    /// CLIP score of the full-precision images minus that of the quantized model's; may be negative.
    case clipDrop
    /// Error of the noise prediction, weighted as an error of the predicted sample; >= 0.
    case noise
    /// `noise` as predicted from gradients; >= 0.
    case fisher

    /// The property of `SensitivityScores` with this score.
    public var keyPath: WritableKeyPath<SensitivityScores, Double?> {
        switch self {
        case .mse: \.mse
        case .psnr: \.psnr
        case .perceptual: \.perceptual
        case .clipDrop: \.clipDrop
        case .noise: \.noise
        case .fisher: \.fisher
        }
    }

    /// Whether a larger value means a larger error.
    public var isWorseWhenLarger: Bool { self != .psnr }

    /// Whether a negative value is impossible.
    public var isNonNegative: Bool {
        switch self {
        case .mse, .perceptual, .noise, .fisher: true
        case .psnr, .clipDrop: false
        }
    }

    /// The name in reports, such as `CLIP drop`.
    public var title: String {
        switch self {
        case .mse: "MSE"
        case .psnr: "PSNR"
        case .perceptual: "perceptual"
        case .clipDrop: "CLIP drop"
        case .noise: "noise"
        case .fisher: "Fisher"
        }
    }
}

/// The scores of one layer at one bit width, over the images of all prompts and seeds. nil: not measured.
public struct SensitivityScores: Hashable, Codable, Sendable {
    /// M: mean squared error between the images of the quantized and the full-precision model, >= 0.
    public var mse: Double?
    /// Peak signal-to-noise ratio of the same images in dB; also nil for equal images, for which it would be infinite.
    public var psnr: Double?
    /// Distance of the same images over the feature maps of an image encoder, >= 0, in place of LPIPS. Requires an
    /// image encoder.
    public var perceptual: Double?
    /// CLIP score of the full-precision images minus that of the quantized ones: positive is worse. Requires a
    /// text-image scorer.
    public var clipDrop: Double?
    /// E_t[(1 - a_t) / a_t |eps - eps_q|^2], mean over elements, >= 0: the error of the noise prediction on noised
    /// samples, as an error of the predicted sample.
    public var noise: Double?
    /// `noise` as predicted from one backward sweep, >= 0: the quadratic form of the quantization error with the
    /// Gauss-Newton matrix, without the blocks that couple two output channels.
    public var fisher: Double?

    /// Records one measurement.
    public init(
        mse: Double? = nil, psnr: Double? = nil, perceptual: Double? = nil, clipDrop: Double? = nil,
        noise: Double? = nil, fisher: Double? = nil
    ) {
        self.mse = mse
        self.psnr = psnr
        self.perceptual = perceptual
        self.clipDrop = clipDrop
        self.noise = noise
        self.fisher = fisher
    }

    /// The score by `metric`; nil if not measured.
    public subscript(metric: SensitivityMetric) -> Double? {
        get { self[keyPath: metric.keyPath] }
        set { self[keyPath: metric.keyPath] = newValue }
    }

    /// Reads the scores of all metrics; missing ones are nil.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: DocumentKey.self)
        self.init()
        for metric in SensitivityMetric.allCases {
            self[metric] = try container.decodeIfPresent(Double.self, forKey: DocumentKey(metric.rawValue))
        }
    }

    /// Writes the keys of all metrics, null for a missing score.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: DocumentKey.self)
        for metric in SensitivityMetric.allCases {
            try container.encode(self[metric], forKey: DocumentKey(metric.rawValue))
        }
    }
}

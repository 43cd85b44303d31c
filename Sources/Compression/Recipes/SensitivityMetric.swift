// SPDX-License-Identifier: Apache-2.0
// The measures of a sensitivity analysis by name, for everything that goes through all of them: documents, checks,
// correlations, sums and reports.

/// One of the numbers that say how much quantizing one layer alone to one width costs.
public enum SensitivityMetric: String, Codable, Sendable, CaseIterable {
    /// Mean squared error of the images, in units in which the data range is 1; >= 0.
    case mse
    /// Peak signal-to-noise ratio of the images, dB; the only one of which less is worse.
    case psnr
    /// Perceptual distance of the images, over the feature maps of an image encoder; >= 0.
    case perceptual
    /// CLIP score of the full-precision images minus that of the quantized model's; may be negative.
    case clipDrop
    /// Error of the noise prediction, weighted as an error of the predicted sample; >= 0.
    case noise
    /// `noise` as predicted from gradients; >= 0.
    case fisher

    /// Where a measure keeps it.
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

    /// Whether a larger value means more sensitivity.
    public var isWorseWhenLarger: Bool { self != .psnr }

    /// Whether a negative value is impossible.
    public var isNonNegative: Bool {
        switch self {
        case .mse, .perceptual, .noise, .fisher: true
        case .psnr, .clipDrop: false
        }
    }

    /// What tables for people call it, such as `CLIP drop`.
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

extension SensitivityScores {
    /// The value of `metric`; nil where it was not measured.
    public subscript(metric: SensitivityMetric) -> Double? {
        get { self[keyPath: metric.keyPath] }
        set { self[keyPath: metric.keyPath] = newValue }
    }
}

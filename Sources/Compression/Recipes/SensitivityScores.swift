// SPDX-License-Identifier: Apache-2.0
// What quantizing one layer alone to one width costs (BitsFusion, arXiv:2406.04333, Algorithm 1, parts 1 and 2), by
// up to six measures.

/// The sensitivity of one layer at one width, over the images of all prompts and seeds.
public struct SensitivityScores: Hashable, Codable, Sendable {
    /// M: mean squared error between the images of the quantized and the full-precision model, >= 0. Nil where no
    /// images were made.
    public var mse: Double?
    /// Peak signal-to-noise ratio of the same images in dB; nil where they are equal (it would be infinite).
    public var psnr: Double?
    /// Distance of the same images over the feature maps of an image encoder, >= 0, standing in for LPIPS. Nil where
    /// no encoder was at hand.
    public var perceptual: Double?
    /// CLIP score of the full-precision images minus that of the quantized ones: positive is worse. Nil where no
    /// text-image scorer was at hand.
    public var clipDrop: Double?
    /// E_t[(1 - ā_t) / ā_t ‖ε - ε_q‖²], mean over elements, >= 0: the error of the noise prediction on noised samples,
    /// as an error of the predicted sample.
    public var noise: Double?
    /// `noise` as predicted from one backward sweep, >= 0: the quantization error against the Gauss-Newton matrix without
    /// the blocks that couple two output channels.
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

    /// Reads any of the metrics; absent ones are nil, so that tables of earlier versions stay readable.
    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: DocumentKey.self)
        self.init()
        for metric in SensitivityMetric.allCases {
            self[metric] = try container.decodeIfPresent(Double.self, forKey: DocumentKey(metric.rawValue))
        }
    }

    /// Writes every metric's key, null where there is no value.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: DocumentKey.self)
        for metric in SensitivityMetric.allCases {
            try container.encode(self[metric], forKey: DocumentKey(metric.rawValue))
        }
    }
}

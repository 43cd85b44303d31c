// SPDX-License-Identifier: Apache-2.0
// What the paper reports of Stable Diffusion 1.5 (BitsFusion, arXiv:2406.04333, section 3.2), to be shown beside an
// analysis's own findings: correlations over its layers, as absolute values, and the share of symmetric layers.

import BitsFusion

enum PublishedFindings {
    /// |r| of two measures over the layers, as text; nil where the paper gives none. Of the perceptual distance, which
    /// is LPIPS there, it says 0.98 or more.
    static func correlation(
        _ x: SensitivityCorrelation.Side, _ y: SensitivityCorrelation.Side
    ) -> String? {
        switch (x.metric, x.bits.rawValue, y.metric, y.bits.rawValue) {
        case (.mse, 1, .psnr, 1), (.mse, 3, .psnr, 3): "0.87"
        case (.mse, 2, .psnr, 2): "0.88"
        case (.mse, 1...3, .perceptual, 1...3) where x.bits == y.bits: "≥0.98"
        case (.mse, 1, .clipDrop, 1): "0.73"
        case (.mse, 2, .clipDrop, 2): "0.47"
        case (.mse, 3, .clipDrop, 3): "0.54"
        case (.mse, 1, .mse, 2): "0.93"
        case (.mse, 1, .mse, 3): "0.77"
        default: nil
        }
    }

    /// The percentage of layers whose weights' skewness is within [-0.5, 0.5].
    static let symmetricLayers = "97 %"
}

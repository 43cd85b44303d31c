// SPDX-License-Identifier: Apache-2.0
// Samples as images. B samples, C channels, H W size.

import BitsFusion
import Foundation

/// The images of a pixel-space model.
///
/// - Parameter samples: `[B, 3, H, W]`, or `[B, 1, H, W]` for gray images, in [-1, 1].
/// - Returns: B images.
func images(_ samples: Tensor) -> [RGBImage] {
    planes(of: samples).map { image in
        let rgb = samples.shape[1] == 1 ? image + image + image : image
        return RGBImage(width: samples.shape[3], height: samples.shape[2], modelRange: rgb)
    }
}

/// A preview of latents: the first three channels as red, green and blue, each scaled so that two standard deviations
/// around its mean over all samples fill the range. It shows structure, not colors.
///
/// - Parameter samples: `[B, C, H, W]`; with fewer than three channels the last one is repeated.
/// - Returns: B images.
func latentPreview(_ samples: Tensor) -> [RGBImage] {
    let area = samples.shape[2] * samples.shape[3]
    let images = planes(of: samples)
    let channels = samples.shape[1]
    var pixels = images.map { _ in [Float]() }
    for color in 0..<3 {
        let channel = min(color, channels - 1)
        let values = images.map { Array($0[channel * area..<(channel + 1) * area]) }
        let all = values.joined()
        let count = Double(max(all.count, 1))
        let mean = all.reduce(0.0) { $0 + Double($1) } / count
        let variance = all.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / count
        let halfRange = max(2 * variance.squareRoot(), 1e-12)
        for (index, plane) in values.enumerated() {
            pixels[index] += plane.map { Float(min(max((Double($0) - mean) / halfRange, -1), 1) * 0.5 + 0.5) }
        }
    }
    return pixels.map { RGBImage(width: samples.shape[3], height: samples.shape[2], pixels: $0) }
}

/// Small images enlarged in a grid, `columns` per row, with each prompt beside the first row of its images.
///
/// - Precondition: `images` is not empty; all have the same size.
func grid(of images: [RGBImage], columns: Int, prompts: [String]) -> ImageGrid {
    let rows = stride(from: 0, to: images.count, by: columns).map { start in
        Array(images[start..<min(start + columns, images.count)])
    }
    let rowsPerPrompt = max(images.count / max(prompts.count, 1) / columns, 1)
    let labels = rows.indices.map { index in
        index % rowsPerPrompt == 0 && index / rowsPerPrompt < prompts.count ? prompts[index / rowsPerPrompt] : ""
    }
    return ImageGrid(rows: rows, rowLabels: labels, pixelScale: max(160 / max(images[0].width, 1), 1))
}

/// The values of each sample, `[C, H, W]` flat.
private func planes(of samples: Tensor) -> [[Float]] {
    let size = samples.count / max(samples.shape[0], 1)
    let values = samples.values
    return (0..<samples.shape[0]).map { Array(values[$0 * size..<($0 + 1) * size]) }
}

// SPDX-License-Identifier: Apache-2.0
// The structural similarity index (Wang et al. 2004), with the windows of torchmetrics'
// `StructuralSimilarityIndexMeasure` (functional/image/ssim.py). N images, C channels, H W size.

import Foundation
import Tensors

/// The structural similarity of each image and its reference image, the mean over all windows and channels of
///
///     SSIM = (2 μ_x μ_y + c1) (2 σ_xy + c2) / ((μ_x² + μ_y² + c1) (σ_x² + σ_y² + c2))
///     c1 = (0.01 R)², c2 = (0.03 R)²
///
/// μ, σ² and σ_xy are means, variances and covariances in a window of 11x11 pixels with Gaussian weights of standard
/// deviation 1.5 around each pixel; the image is reflected at its borders.
///
/// - Parameters:
///   - images: `[N, C, H, W]` with H, W >= 11.
///   - reference: the same shape.
///   - dataRange: R, the difference between the largest and the smallest possible value.
/// - Returns: N values, 1 for identical images; NaN for an image with NaN.
public func structuralSimilarities(_ images: Tensor, reference: Tensor, dataRange: Double) -> [Double] {
    let shape = images.shape
    precondition(
        shape == reference.shape && shape.count == 4 && min(shape[2], shape[3]) >= structuralSimilarityWindow,
        "structuralSimilarities: images \(shape) against reference \(reference.shape)")
    let (planes, area) = (shape[0] * shape[1], shape[2] * shape[3])
    let (x, y) = (images.values, reference.values)
    let similarities = (0..<planes).map { plane in
        let range = plane * area..<(plane + 1) * area
        return meanSimilarity(
            x[range].map { Double($0) }, y[range].map { Double($0) }, width: shape[3], dataRange: dataRange)
    }
    return (0..<shape[0]).map { image in
        similarities[image * shape[1]..<(image + 1) * shape[1]].reduce(0, +) / Double(shape[1])
    }
}

/// The smallest height and width of images that have a structural similarity.
public let structuralSimilarityWindow = 11

/// The mean over the windows of one channel.
private func meanSimilarity(_ x: [Double], _ y: [Double], width: Int, dataRange: Double) -> Double {
    func product(_ a: [Double], _ b: [Double]) -> [Double] { zip(a, b).map { $0 * $1 } }
    let (meanX, meanY) = (windowMeans(x, width: width), windowMeans(y, width: width))
    let squareX = windowMeans(product(x, x), width: width), squareY = windowMeans(product(y, y), width: width)
    let mixed = windowMeans(product(x, y), width: width)
    let c1 = (0.01 * dataRange) * (0.01 * dataRange), c2 = (0.03 * dataRange) * (0.03 * dataRange)
    var sum = 0.0
    for index in meanX.indices {
        let (a, b) = (meanX[index], meanY[index])
        let variances = squareX[index] - a * a + squareY[index] - b * b
        let covariance = mixed[index] - a * b
        sum += (2 * a * b + c1) * (2 * covariance + c2) / ((a * a + b * b + c1) * (variances + c2))
    }
    return sum / Double(meanX.count)
}

/// The weighted means in the windows around all pixels of an image with rows of `width` values.
private func windowMeans(_ values: [Double], width: Int) -> [Double] {
    let size = structuralSimilarityWindow, height = values.count / width
    let distances = (0..<size).map { Double($0 - size / 2) / 1.5 }
    let weights = distances.map { exp(-$0 * $0 / 2) }
    let total = weights.reduce(0, +)
    let kernel = weights.map { $0 / total }
    /// The positions of the window around `position`, reflected at 0 and at `count` - 1.
    func window(_ position: Int, _ count: Int) -> [Int] {
        (0..<size).map { offset in
            let index = abs(position + offset - size / 2)
            return index < count ? index : 2 * (count - 1) - index
        }
    }
    var rows = [Double](repeating: 0, count: values.count), means = rows
    for column in 0..<width {
        for (weight, source) in zip(kernel, window(column, width)) {
            for row in 0..<height { rows[row * width + column] += weight * values[row * width + source] }
        }
    }
    for row in 0..<height {
        for (weight, source) in zip(kernel, window(row, height)) {
            for column in 0..<width { means[row * width + column] += weight * rows[source * width + column] }
        }
    }
    return means
}

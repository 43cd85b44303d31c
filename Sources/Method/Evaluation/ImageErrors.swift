// SPDX-License-Identifier: Apache-2.0
// How far images are from reference images, pixel by pixel. BitsFusion's sensitivity analysis (arXiv:2406.04333,
// section 3.2) compares the quantized model's images with the full-precision model's this way.
// N images, each C x H x W.

import Foundation
import Tensors

/// The mean squared error of every image:
///
///     MSE_n = 1/(CHW) Σ (image_n - reference_n)²
///
/// - Parameters:
///   - images: `[N, ...]`, any range.
///   - reference: the same shape and range.
/// - Returns: N values >= 0, in squared units of the pixels; NaN for an image that holds NaN.
/// - Precondition: equal shapes of rank >= 1, with at least one value per image.
public func meanSquaredErrors(_ images: Tensor, reference: Tensor) -> [Double] {
    precondition(
        images.shape == reference.shape && images.rank >= 1,
        "meanSquaredErrors: images \(images.shape) against reference \(reference.shape)")
    guard images.count > 0 else {
        precondition(
            images.shape[0] == 0, "meanSquaredErrors: images of shape \(images.shape) have no values")
        return []
    }
    let perImage = images.count / images.shape[0]
    return images.withUnsafeBufferPointer { image in
        reference.withUnsafeBufferPointer { reference in
            stride(from: 0, to: image.count, by: perImage).map { start in
                var sum = 0.0
                for index in start..<start + perImage {
                    let difference = Double(image[index]) - Double(reference[index])
                    sum += difference * difference
                }
                return sum / Double(perImage)
            }
        }
    }
}

/// The mean squared error of a set of images, which is the mean of its images' errors.
///
/// - Parameters:
///   - images: `[N, ...]`, any range, N > 0.
///   - reference: the same shape and range.
/// - Returns: a value >= 0, in squared units of the pixels.
/// - Precondition: as of `meanSquaredErrors(_:reference:)`, and N > 0.
public func meanSquaredError(ofImages images: Tensor, reference: Tensor) -> Double {
    let errors = meanSquaredErrors(images, reference: reference)
    precondition(!errors.isEmpty, "meanSquaredError: no images")
    return errors.reduce(0, +) / Double(errors.count)
}

/// The peak signal-to-noise ratio that belongs to a mean squared error:
///
///     PSNR = 10 log10(R² / MSE)  dB
///
/// For a set of images, give the set's error: the ratio then stays finite as long as one image differs, where a mean
/// of the images' own ratios would be infinite as soon as one does not.
///
/// - Parameters:
///   - meanSquaredError: >= 0, in squared units of the pixels.
///   - dataRange: R, the largest pixel value minus the smallest possible one: 2 for pixels in [-1, 1], 1 for
///     [0, 1]; > 0.
/// - Returns: decibels; `+infinity` for an error of 0 (identical images), NaN for NaN.
public func peakSignalToNoiseRatio(meanSquaredError: Double, dataRange: Double) -> Double {
    precondition(dataRange > 0, "peakSignalToNoiseRatio: data range \(dataRange) is not positive")
    precondition(!(meanSquaredError < 0), "peakSignalToNoiseRatio: negative error \(meanSquaredError)")
    return 10 * log10(dataRange * dataRange / meanSquaredError)
}

// SPDX-License-Identifier: Apache-2.0
// Squared errors of images and of predictions. BitsFusion (arXiv:2406.04333) compares the images of the quantized and
// the full-precision model (section 3.2), and their predictions as E_t[(1 - ā_t)/ā_t ‖ε - ε_q‖²] (section 4.2).
// N images `[C, H, W]`, or N predictions.

import Foundation
import Schedulers
import Tensors

/// The mean squared error of each image:
///
///     MSE_n = 1/(CHW) Σ (image_n - reference_n)²
///
/// - Parameters:
///   - images: `[N, ...]`, any range.
///   - reference: the same shape and range.
/// - Returns: N values >= 0, in squared units of the pixels; NaN for an image with NaN.
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

/// The mean of the mean squared errors of a set of images.
///
/// - Parameters:
///   - images: `[N, ...]`, any range, N > 0.
///   - reference: the same shape and range.
/// - Returns: a value >= 0, in squared units of the pixels.
/// - Precondition: as `meanSquaredErrors(_:reference:)`, and N > 0.
public func meanSquaredError(ofImages images: Tensor, reference: Tensor) -> Double {
    let errors = meanSquaredErrors(images, reference: reference)
    precondition(!errors.isEmpty, "meanSquaredError: no images")
    return errors.reduce(0, +) / Double(errors.count)
}

/// The peak signal-to-noise ratio of a mean squared error:
///
///     PSNR = 10 log10(R² / MSE)  dB
///
/// For a set of images, pass the error of the set. The ratio is then infinite only if all images are identical to their
/// references, whereas the mean of the ratios of the images is infinite if one is.
///
/// - Parameters:
///   - meanSquaredError: >= 0, in squared units of the pixels.
///   - dataRange: R > 0, the difference of the largest and smallest possible pixel: 2 for [-1, 1], 1 for [0, 1].
/// - Returns: decibels; `+infinity` for an error of 0 (identical images), NaN for NaN.
public func peakSignalToNoiseRatio(meanSquaredError: Double, dataRange: Double) -> Double {
    precondition(dataRange > 0, "peakSignalToNoiseRatio: data range \(dataRange) is not positive")
    precondition(!(meanSquaredError < 0), "peakSignalToNoiseRatio: negative error \(meanSquaredError)")
    return 10 * log10(dataRange * dataRange / meanSquaredError)
}

/// The mean squared error of each prediction, 1/d ‖prediction - reference‖² with d values per prediction.
///
/// - Parameters:
///   - prediction: `[N, ...]`, the quantized model's output.
///   - reference: the same shape, the full-precision model's output for the same input.
/// - Returns: N values >= 0.
public func predictionErrors(_ prediction: Tensor, reference: Tensor) -> [Double] {
    meanSquaredErrors(prediction, reference: reference)
}

/// The mean squared error of the noiseless sample x_0 that corresponds to each prediction: w_t times the error of the
/// prediction, with
///
///     w_t = (1 - ā_t) / ā_t    for noise prediction, x_0 = (x_t - √(1 - ā) ε) / √ā
///     w_t = 1 - ā_t            for velocity prediction, x_0 = √ā x_t - √(1 - ā) v
///     w_t = 1                  for sample prediction
///
/// - Parameters:
///   - prediction: `[N, ...]`, the quantized model's output.
///   - reference: the same shape, the full-precision model's output for the same input.
///   - timesteps: N values in `0 ..< schedule.trainTimesteps`.
///   - schedule: ā and the prediction type of the models.
/// - Returns: N values >= 0. Their mean over uniformly drawn timesteps is an estimate of E_t.
/// - Precondition: equal shapes, N timesteps in range.
public func predictedSampleErrors(
    _ prediction: Tensor, reference: Tensor, timesteps: [Int], schedule: NoiseSchedule
) -> [Double] {
    let errors = predictionErrors(prediction, reference: reference)
    precondition(
        errors.count == timesteps.count,
        "predictedSampleErrors: \(timesteps.count) timesteps for predictions \(prediction.shape)")
    return zip(errors, timesteps).map { error, timestep in
        precondition(
            schedule.alphasCumprod.indices.contains(timestep),
            "predictedSampleErrors: timestep \(timestep) is not in 0 ..< \(schedule.trainTimesteps)")
        let alphaCumprod = Double(schedule.alphasCumprod[timestep])
        switch schedule.predictionType {
        case .epsilon: return error * (1 - alphaCumprod) / alphaCumprod
        case .vPrediction: return error * (1 - alphaCumprod)
        case .sample: return error
        }
    }
}

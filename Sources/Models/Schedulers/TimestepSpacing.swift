// SPDX-License-Identifier: Apache-2.0
// How inference timesteps are selected from the training timesteps: diffusers' `timestep_spacing`, with NumPy's
// rounding.

import Foundation
import Tensors

/// How inference timesteps are selected from the training timesteps (Lin et al. 2023, arXiv:2305.08891, table 2).
public enum TimestepSpacing: String, Codable, Sendable, CaseIterable {
    /// Equal integer steps from 0 upwards, plus `stepsOffset`.
    case leading
    /// Evenly spaced from the first to the last training timestep.
    case linspace
    /// Equal steps from the last training timestep downwards.
    case trailing
}

extension SamplerConfig {
    /// The timesteps of DDIM, DDPM and PNDM, ascending.
    func ascendingTimesteps(_ steps: Int) throws(SamplerError) -> [Int] {
        let count = schedule.trainTimesteps
        guard (1...count).contains(steps) else { throw .steps(requested: steps, maximum: count) }
        let timesteps: [Int]
        switch timestepSpacing ?? .leading {
        case .leading: timesteps = (0..<steps).map { $0 * (count / steps) + stepsOffset }
        case .linspace: timesteps = roundedLinspace(to: count - 1, count: steps)
        case .trailing: timesteps = trailingTimesteps(to: count, step: Double(count) / Double(steps))
        }
        try check(timesteps)
        return timesteps
    }

    /// The timesteps of DPM-Solver++ and UniPC, descending: the first `steps` of `steps` + 1 in 0 ..< `end`.
    func multistepTimesteps(_ steps: Int, end: Int) throws(SamplerError) -> [Int] {
        // With as many steps as timesteps, two timesteps would be equal and a step would have no width.
        guard steps >= 1 && steps < end else { throw .steps(requested: steps, maximum: end - 1) }
        let timesteps: [Int]
        switch timestepSpacing ?? .linspace {
        case .linspace:
            timesteps = roundedLinspace(to: end - 1, count: steps + 1).dropFirst().reversed()
        case .leading:
            let stride = end / (steps + 1)
            timesteps = (1...steps).reversed().map { $0 * stride + stepsOffset }
        case .trailing:
            let step = Double(schedule.trainTimesteps) / Double(steps)
            timesteps = trailingTimesteps(to: end, step: step).reversed()
        }
        try check(timesteps)
        return timesteps
    }

    /// The timesteps of Euler and Heun, descending; fractions with `linspace` spacing, which is the default.
    func fractionalTimesteps(_ steps: Int) throws(SamplerError) -> [Float] {
        guard (timestepSpacing ?? .linspace) == .linspace else {
            return try ascendingTimesteps(steps).reversed().map { Float($0) }
        }
        let count = schedule.trainTimesteps
        guard (1...count).contains(steps) else { throw .steps(requested: steps, maximum: count) }
        return linspace(to: count - 1, count: steps).reversed().map { Float($0) }
    }

    /// Checks that the schedule has a noise level for every timestep.
    ///
    /// - Throws: `SamplerError.timestepBeyondSchedule`.
    func check(_ timesteps: [Int]) throws(SamplerError) {
        if let timestep = timesteps.first(where: { !schedule.alphasCumprod.indices.contains($0) }) {
            throw .timestepBeyondSchedule(
                timestep: timestep, last: schedule.trainTimesteps - 1, offset: stepsOffset)
        }
    }

    /// Checks that ā is not 0 at any timestep, where the noiseless sample does not follow from the predicted noise.
    ///
    /// - Parameters:
    ///   - timesteps: of the schedule.
    ///   - kind: the sampler, for the message.
    /// - Throws: `SamplerError.unsupported`.
    func checkSignal(_ timesteps: [Int], for kind: SamplerKind) throws(SamplerError) {
        guard schedule.predictionType == .epsilon || kind == .pndm else { return }
        if timesteps.contains(where: { schedule.alphasCumprod[$0] == 0 }) {
            throw .unsupported(
                option: "rescale_betas_zero_snr", value: "true",
                supported: "false where \(kind.rawValue) visits the last training timestep with prediction_type "
                    + "\"\(schedule.predictionType.rawValue)\"")
        }
    }

    /// Checks that the model does not predict the noiseless sample, which diffusers' PNDM and Euler ancestral
    /// schedulers do not implement.
    ///
    /// - Throws: `SamplerError.unsupported`.
    func checkNoSamplePrediction() throws(SamplerError) {
        guard schedule.predictionType != .sample else {
            throw .unsupported(
                option: "prediction_type", value: "\"sample\"", supported: "\"epsilon\", \"v_prediction\"")
        }
    }

    /// ā at `timestep`; for a negative timestep, ā after the last step.
    func alphaCumprod(_ timestep: Int) -> Double {
        if timestep >= 0 { return Double(schedule.alphasCumprod[timestep]) }
        return setAlphaToOne ? 1 : Double(schedule.alphasCumprod[0])
    }

    /// sqrt(ā) and sqrt(1 - ā) at `timestep`, as `NoiseSchedule.addNoise`.
    func noiseLevel(_ timestep: Int) -> (signal: Float, noise: Float) {
        let alpha = schedule.alphasCumprod[timestep]
        return (alpha.squareRoot(), (1 - alpha).squareRoot())
    }

    /// `original` clipped to ± `clipSampleRange`, without a gradient; unchanged without a range.
    func clipped(_ original: Tensor) -> Tensor {
        guard let range = clipSampleRange.map({ Float($0) }) else { return original }
        return Tensor(original.values.map { min(max($0, -range), range) }, shape: original.shape)
    }
}

/// `numpy.linspace(0, last, count)`.
func linspace(to last: Int, count: Int) -> [Double] {
    guard count > 1 else { return [0] }
    let step = Double(last) / Double(count - 1)
    return (0..<count).map { $0 == count - 1 ? Double(last) : Double($0) * step }
}

/// `numpy.linspace(0, last, count).round()`: rounds half to even.
func roundedLinspace(to last: Int, count: Int) -> [Int] {
    linspace(to: last, count: count).map { Int($0.rounded(.toNearestOrEven)) }
}

/// `numpy.round(numpy.arange(end, 0, -step)) - 1`, ascending.
func trailingTimesteps(to end: Int, step: Double) -> [Int] {
    let start = Double(end)
    // numpy.arange multiplies the difference of its first two values, which is not exactly -step.
    let difference = (start - step) - start
    let length = Int((start / step).rounded(.up))
    return (0..<length).reversed().map {
        Int((start + Double($0) * difference).rounded(.toNearestOrEven)) - 1
    }
}

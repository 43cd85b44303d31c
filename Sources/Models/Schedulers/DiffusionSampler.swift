// SPDX-License-Identifier: Apache-2.0
// The interface of all samplers, with the timesteps that they share. A sampler matches the scheduler of the same name
// in diffusers (schedulers/): `timesteps` is its `set_timesteps`, `step` its `step`.

import Files
import Foundation
import Tensors

/// Converts noise to a sample in steps, with one model prediction per step.
///
/// A sampler is a value with the state of one run; copy it before the first step to use it again.
public protocol DiffusionSampler {
    /// The timesteps of the predictions, in order. PNDM has one of them twice.
    var timesteps: [Int] { get }

    /// Computes the sample at the noise level of the next timestep.
    ///
    /// - Parameters:
    ///   - prediction: the model's output for `sample` at `timesteps[i]` in the i-th call; the shape of `sample`.
    ///   - sample: the sample at `timesteps[i]`.
    /// - Returns: the next sample, the shape of `sample`.
    /// - Precondition: called at most once per element of `timesteps`.
    mutating func step(_ prediction: Tensor, sample: Tensor) -> Tensor
}

/// Why a sampler cannot be made from a config.
public enum SamplerError: Error, Equatable, Sendable {
    /// The number of steps is not in 1 ... maximum.
    case steps(requested: Int, maximum: Int)
    /// A timestep, `steps_offset` included, is above the last one of the schedule.
    case timestepBeyondSchedule(timestep: Int, last: Int)
    /// The sampler does not implement the value of an option.
    case unsupported(option: String, value: String, supported: String)
}

extension SamplerError {
    public var description: String {
        switch self {
        case .steps(let requested, let maximum):
            "sampler: \(requested) steps requested; expected 1 to \(maximum)"
        case .timestepBeyondSchedule(let timestep, let last):
            "sampler: timestep \(timestep) is above the last one, \(last); use fewer steps or a smaller steps_offset"
        case .unsupported(let option, let value, let supported):
            "sampler: \(option) \(value) is not supported; supported: \(supported)"
        }
    }
}

extension SamplerConfig {
    /// A sampler of `kind` with these options and `steps` inference steps.
    ///
    /// - Throws: `SamplerError`.
    public func sampler(_ kind: SamplerKind, steps: Int) throws(SamplerError) -> any DiffusionSampler {
        switch kind {
        case .ddim: try DDIMSampler(steps: steps, config: self)
        case .pndm: try PNDMSampler(steps: steps, config: self)
        case .dpmSolverMultistep: try DPMSolverMultistepSampler(steps: steps, config: self)
        }
    }

    /// The timesteps of DDIM and PNDM, ascending.
    func ascendingTimesteps(_ steps: Int) throws(SamplerError) -> [Int] {
        let count = schedule.trainTimesteps
        guard (1...count).contains(steps) else { throw .steps(requested: steps, maximum: count) }
        let timesteps: [Int]
        switch timestepSpacing ?? .leading {
        case .leading: timesteps = (0..<steps).map { $0 * (count / steps) + stepsOffset }
        case .linspace: timesteps = roundedLinspace(to: count - 1, count: steps)
        case .trailing: timesteps = trailingTimesteps(count: count, step: Double(count) / Double(steps))
        }
        try check(timesteps)
        return timesteps
    }

    /// Checks that the schedule has a noise level for every timestep.
    ///
    /// - Throws: `SamplerError.timestepBeyondSchedule`.
    func check(_ timesteps: [Int]) throws(SamplerError) {
        if let timestep = timesteps.first(where: { !schedule.alphasCumprod.indices.contains($0) }) {
            throw .timestepBeyondSchedule(timestep: timestep, last: schedule.trainTimesteps - 1)
        }
    }

    /// ā at `timestep`; for a negative timestep, ā after the last step.
    func alphaCumprod(_ timestep: Int) -> Double {
        if timestep >= 0 { return Double(schedule.alphasCumprod[timestep]) }
        return setAlphaToOne ? 1 : Double(schedule.alphasCumprod[0])
    }
}

/// `numpy.linspace(0, last, count).round()`: rounds half to even.
func roundedLinspace(to last: Int, count: Int) -> [Int] {
    guard count > 1 else { return [0] }
    let step = Double(last) / Double(count - 1)
    return (0..<count).map { $0 == count - 1 ? last : Int((Double($0) * step).rounded(.toNearestOrEven)) }
}

/// `numpy.round(numpy.arange(count, 0, -step)) - 1`, ascending.
func trailingTimesteps(count: Int, step: Double) -> [Int] {
    let start = Double(count)
    // numpy.arange multiplies the difference of its first two values, which is not exactly -step.
    let difference = (start - step) - start
    let length = Int((start / step).rounded(.up))
    return (0..<length).reversed().map {
        Int((start + Double($0) * difference).rounded(.toNearestOrEven)) - 1
    }
}

extension SamplerError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .steps: .usage
        // These are options of the model's scheduler config.
        case .timestepBeyondSchedule, .unsupported: .badData
        }
    }
}

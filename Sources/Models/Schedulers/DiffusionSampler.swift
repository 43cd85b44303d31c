// SPDX-License-Identifier: Apache-2.0
// What all samplers share: a list of timesteps and a step between two of them.

import Files
import Foundation
import Tensors

/// Walks from noise to a sample, one model prediction at a time. A value: copy it to start anew.
public protocol DiffusionSampler {
    /// The timesteps to predict at, in order; PNDM asks for one of them twice.
    var timesteps: [Int] { get }

    /// Moves `sample` to the noise level of the next timestep.
    ///
    /// - Parameters:
    ///   - prediction: the model's output for `sample` at `timesteps[i]` in the i-th call; the shape of `sample`.
    ///   - sample: the present sample.
    /// - Returns: the next sample, the shape of `sample`.
    /// - Precondition: called at most once per element of `timesteps`.
    mutating func step(_ prediction: Tensor, sample: Tensor) -> Tensor
}

/// A number of steps that a sampler cannot take.
public enum SamplerError: Error, Equatable, Sendable {
    /// Not in 1 ... maximum.
    case steps(requested: Int, maximum: Int)
    /// A timestep (`steps_offset` included) beyond the schedule's last one.
    case timestepBeyondSchedule(timestep: Int, last: Int)
    /// An option that the sampler does not compute.
    case unsupported(option: String, value: String, supported: String)
}

extension SamplerError {
    public var description: String {
        switch self {
        case .steps(let requested, let maximum):
            "sampler: \(requested) steps requested; expected 1 to \(maximum)"
        case .timestepBeyondSchedule(let timestep, let last):
            "sampler: timestep \(timestep) is beyond the last one, \(last); use fewer steps or a smaller steps_offset"
        case .unsupported(let option, let value, let supported):
            "sampler: \(option) \(value) is not supported; supported: \(supported)"
        }
    }
}

extension SamplerConfig {
    /// The sampler `kind` with these options, for `steps` inference steps.
    ///
    /// - Throws: `SamplerError`.
    public func sampler(_ kind: SamplerKind, steps: Int) throws(SamplerError) -> any DiffusionSampler {
        switch kind {
        case .ddim: try DDIMSampler(steps: steps, config: self)
        case .pndm: try PNDMSampler(steps: steps, config: self)
        case .dpmSolverMultistep: try DPMSolverMultistepSampler(steps: steps, config: self)
        }
    }

    /// Ascending timesteps of DDIM and PNDM.
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

    /// Throws unless every timestep has a noise level.
    func check(_ timesteps: [Int]) throws(SamplerError) {
        if let timestep = timesteps.first(where: { !schedule.alphasCumprod.indices.contains($0) }) {
            throw .timestepBeyondSchedule(timestep: timestep, last: schedule.trainTimesteps - 1)
        }
    }

    /// ā at `timestep`, or behind the last step where it is negative.
    func alphaCumprod(_ timestep: Int) -> Double {
        if timestep >= 0 { return Double(schedule.alphasCumprod[timestep]) }
        return setAlphaToOne ? 1 : Double(schedule.alphasCumprod[0])
    }
}

/// `count` integers from 0 to `last`, evenly spaced, rounded half to even (numpy.linspace, numpy.round).
func roundedLinspace(to last: Int, count: Int) -> [Int] {
    guard count > 1 else { return [0] }
    let step = Double(last) / Double(count - 1)
    return (0..<count).map { $0 == count - 1 ? last : Int((Double($0) * step).rounded(.toNearestOrEven)) }
}

/// `round(arange(count, 0, -step)) - 1`, ascending.
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
        // Options of the scheduler config that came with the model.
        case .timestepBeyondSchedule, .unsupported: .badData
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// The interface of all samplers. A sampler matches the scheduler of the same name in diffusers (schedulers/):
// `timesteps` is its `set_timesteps`, `step` its `step`.

import Files
import Tensors

/// Draws standard normal noise of a shape `[B, C, H, W]`; each call continues the random streams.
public typealias NoiseSource = (_ shape: [Int]) -> Tensor

/// Converts noise to a sample in steps.
///
/// A run predicts once per element of `timesteps`:
///
///     var sample = noise * sampler.initNoiseSigma
///     while sampler.position < sampler.timesteps.count {
///         let timestep = sampler.timesteps[sampler.position]
///         let prediction = model(sampler.scaleModelInput(sample), timestep)
///         sample = sampler.step(prediction, sample: sample, noise: noise)
///     }
///
/// To start from an image, set `position` to `startIndex(strength:)` and begin with `addNoise(to:noise:at:)` of that
/// index. A sampler is a value with the state of one run; copy it before the first step to use it again.
public protocol DiffusionSampler {
    /// The number of inference steps that the sampler was made for.
    var steps: Int { get }
    /// The timesteps of the predictions, in order: whole numbers except for samplers of the Euler family with
    /// `linspace` spacing or Karras sigmas. PNDM has one of them twice, Heun all but the first.
    var timesteps: [Float] { get }
    /// The index in `timesteps` of the next prediction. Set it before the first step only.
    var position: Int { get set }
    /// The predictions per step, diffusers' `order`: 2 for Heun, 1 otherwise.
    var order: Int { get }
    /// The standard deviation of the noise that a run starts with (`init_noise_sigma`).
    var initNoiseSigma: Float { get }

    /// The model's input for the prediction at `timesteps[position]` (`scale_model_input`).
    ///
    /// - Parameter sample: `[B, C, H, W]`.
    /// - Returns: the shape of `sample`.
    func scaleModelInput(_ sample: Tensor) -> Tensor

    /// Computes the sample at the noise level of the next timestep, and increases `position` by 1.
    ///
    /// - Parameters:
    ///   - prediction: the model's output at `timesteps[position]`; the shape of `sample`.
    ///   - sample: the sample before scaling.
    ///   - noise: called for noise by `EulerAncestralSampler`, `LCMSampler` and `DDPMSampler`, in diffusers' order.
    /// - Returns: the next sample, the shape of `sample`.
    /// - Precondition: `position` < `timesteps.count`.
    mutating func step(_ prediction: Tensor, sample: Tensor, noise: NoiseSource) -> Tensor

    /// The factors of sample and noise in a noisy sample at `timesteps[index]`.
    func noiseLevel(at index: Int) -> (signal: Float, noise: Float)
}

extension DiffusionSampler {
    public var order: Int { 1 }
    public var initNoiseSigma: Float { 1 }

    public func scaleModelInput(_ sample: Tensor) -> Tensor { sample }

    /// Adds noise to a sample (`add_noise`), for runs that start from an image and for inpainting.
    ///
    /// - Parameters:
    ///   - original: `[B, C, H, W]`, without noise.
    ///   - noise: the shape of `original`, standard normal.
    ///   - index: an index of `timesteps`.
    /// - Returns: the sample at `timesteps[index]`, before scaling; the shape of `original`.
    public func addNoise(to original: Tensor, noise: Tensor, at index: Int) -> Tensor {
        let level = noiseLevel(at: index)
        return level.signal * original + level.noise * noise
    }

    /// The index in `timesteps` at which a run that starts from an image begins, as diffusers' `get_timesteps`: the
    /// last ⌊steps · strength⌋ steps are done.
    ///
    /// - Parameter strength: share of the steps, above 0, at most 1.
    /// - Returns: a value of `position`.
    /// - Throws: `SamplerError.strength` where no step is left, or `strength` is not in 0...1.
    public func startIndex(strength: Double) throws(SamplerError) -> Int {
        guard (0...1).contains(strength) else { throw .strength(strength, steps: steps) }
        let index = (steps - Int(Double(steps) * strength)) * order
        guard index < steps * order, index < timesteps.count else { throw .strength(strength, steps: steps) }
        return index
    }

    /// Checks that a prediction is left.
    func checkPosition() {
        precondition(
            timesteps.indices.contains(position), "\(Self.self): step called more than \(timesteps.count) times")
    }
}

/// Why a sampler cannot be made from a config.
public enum SamplerError: Error, Equatable, Sendable {
    /// The number of steps is not in 1 ... maximum.
    case steps(requested: Int, maximum: Int)
    /// A timestep is above the last one of the schedule: there are too many steps, or `offset`, the `steps_offset` of
    /// the config, is above the last timestep itself.
    case timestepBeyondSchedule(timestep: Int, last: Int, offset: Int)
    /// The sampler does not implement the value of an option.
    case unsupported(option: String, value: String, supported: String)
    /// The strength is not in 0...1, or leaves no step.
    case strength(Double, steps: Int)
}

extension SamplerError {
    public var description: String {
        switch self {
        case .steps(let requested, let maximum):
            "sampler: \(requested) steps requested; expected 1 to \(maximum)"
        case .timestepBeyondSchedule(let timestep, let last, let offset):
            offset > last
                ? "sampler: steps_offset \(offset) is above the last timestep, \(last); expected 0 to \(last)"
                : "sampler: timestep \(timestep) is above the last one, \(last); use fewer steps"
        case .unsupported(let option, let value, let supported):
            "sampler: \(option) \(value) is not supported; supported: \(supported)"
        case .strength(let strength, let steps):
            "sampler: strength \(strength) leaves none of \(steps) steps; expected \(1 / Double(steps)) to 1"
        }
    }
}

extension SamplerError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .steps, .strength: .usage
        case .timestepBeyondSchedule(_, let last, let offset): offset > last ? .badData : .usage
        // An option of the model's scheduler config.
        case .unsupported: .badData
        }
    }
}

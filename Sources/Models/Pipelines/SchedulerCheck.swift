// SPDX-License-Identifier: Apache-2.0
// What sampling can do with the scheduler config of a pipeline, before the pipeline is imported.

import Checkpoints
import Files
import Foundation
import Networks
import Schedulers

/// Why the scheduler config of a pipeline cannot be used as it is. The weights are not affected.
public enum SchedulerWarning: Equatable, Sendable {
    /// The scheduler's class or an option of it has no implementation; other samplers can be used.
    case otherSampler(reason: String)
    /// No sampler can be used: the class has no noise schedule, such as flow matching.
    case noSampler(reason: String)
}

extension SchedulerWarning: CustomStringConvertible {
    public var description: String {
        switch self {
        case .otherSampler(let reason): "scheduler_config.json: \(reason); `bitsfusion sample` needs --sampler"
        case .noSampler(let reason): "scheduler_config.json: \(reason); the model cannot be sampled"
        }
    }
}

extension SchedulerPipeline {
    /// The pipeline of a model with the denoiser of `config`. Latent models with a text encoder are run by
    /// `StableDiffusionPipeline`, with added conditions by `StableDiffusionXLPipeline`.
    init(for config: any DenoiserConfig) {
        guard config.isLatent, config.usesCrossAttention else {
            self = .other
            return
        }
        self = config.addedConditionsType == nil ? .stableDiffusion : .stableDiffusionXL
    }
}

extension PipelineSource {
    /// The pipeline that samples the model after the import. A config that is not valid is reported where it is read.
    private var schedulerPipeline: SchedulerPipeline {
        let config = component("unet").flatMap { try? DenoiserRegistry.config(json: $0.config) }
        return config.map(SchedulerPipeline.init(for:)) ?? .other
    }

    /// Checks the scheduler config.
    ///
    /// - Returns: a warning where the config is valid, but its own sampler cannot be used; nil without a config.
    /// - Throws: `ConfigError.inDocument` for values of the noise schedule that no sampler can use.
    public func checkScheduler() throws(ConfigError) -> SchedulerWarning? {
        guard let scheduler else { return nil }
        let json = Data(scheduler.utf8)
        do throws(ConfigError) {
            _ = try NoiseSchedule(schedulerJSON: json)
        } catch ConfigError.unsupported("_class_name", let value, let supported) {
            let reason = ConfigError.unsupported(key: "_class_name", value: value, supported: supported)
            return .noSampler(reason: reason.description)
        } catch {
            throw .inDocument("scheduler_config.json", error)
        }
        do {
            let kind = try SamplerKind(json: json)
            _ = try SamplerConfig(json: json, for: kind, in: schedulerPipeline).sampler(kind, steps: 50)
            return nil
        } catch let error as SamplerError where error.category == .usage {
            // Another number of steps can be used.
            return nil
        } catch {
            return .otherSampler(reason: "\(error)")
        }
    }
}

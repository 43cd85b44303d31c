// SPDX-License-Identifier: Apache-2.0
// Scheduler configs at import: values that no sampler can use are errors, classes and options without a sampler here
// are warnings.

import Checkpoints
import Files
import Foundation
import TestKit
import Testing

@testable import Pipelines

@Suite struct SchedulerCheckTests {
    /// The source of Stable Diffusion's tiny pipeline with another scheduler config, and the folder that contains it.
    private func source(_ scheduler: String?) throws -> (folder: TemporaryFolder, source: PipelineSource) {
        let folder = try TemporaryFolder()
        try FileManager.default.copyItem(
            atPath: ReferencePipelines.folder + "/sd1", toPath: folder.file("sd1"))
        let path = "sd1/scheduler/scheduler_config.json"
        try FileManager.default.removeItem(atPath: folder.file(path))
        if let scheduler { try folder.write(path, scheduler) }
        return (folder, try PipelineSource(folder.file("sd1")))
    }

    @Test(
        "values of the noise schedule that cannot be used are errors, and no file is written",
        arguments: [
            (#"{"beta_start": -0.1}"#, "beta_start"), (#"{"prediction_type": "noise"}"#, "prediction_type"),
            (#"{"num_train_timesteps": 0}"#, "num_train_timesteps"), (#"{"beta_schedule": "odd"}"#, "beta_schedule"),
            (#"{"_class_name": "PNDMScheduler", "beta_end": 1}"#, "beta_end"),
        ])
    func unusableValues(json: String, key: String) throws {
        let (folder, source) = try source(json)
        let error = #expect(throws: ConfigError.self) {
            try source.writeModel(to: folder.file("model.h5"), manifest: TinyModel.manifest)
        }
        guard case .inDocument("scheduler_config.json", .unsupported(key, _, _))? = error else {
            Issue.record("\(String(describing: error))")
            return
        }
        #expect(folder.names == ["sd1"])
    }

    @Test(
        "a class or option without a sampler here is a warning, and the model is written",
        arguments: [
            #"{"_class_name": "DEISMultistepScheduler"}"#, #"{"beta_schedule": "linear"}"#,
            #"{"_class_name": "DDIMScheduler", "thresholding": true}"#,
            #"{"_class_name": "PNDMScheduler", "prediction_type": "sample"}"#,
        ])
    func otherSampler(json: String) throws {
        let (folder, source) = try source(json)
        guard case .otherSampler(let reason)? = try source.checkScheduler() else {
            Issue.record("no warning for \(json)")
            return
        }
        #expect(!reason.isEmpty && !reason.contains("\n"))
        try source.writeModel(to: folder.file("model.h5"), manifest: TinyModel.manifest)
        #expect(try DiffusionPipeline(contentsOf: folder.file("model.h5")).schedulerJSON == json)
    }

    @Test("options that Stable Diffusion's pipelines set themselves cause no warning")
    func replacedOptions() throws {
        let (_, source) = try source(
            #"{"_class_name": "PNDMScheduler", "beta_schedule": "scaled_linear", "steps_offset": 65536}"#)
        #expect(try source.checkScheduler() == nil)
    }

    @Test("a class without a noise schedule has no sampler")
    func noSampler() throws {
        let (_, source) = try source(#"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#)
        guard case .noSampler? = try source.checkScheduler() else {
            Issue.record("no warning")
            return
        }
    }

    @Test("the reference pipelines, and a pipeline without a scheduler config, have no warning")
    func usable() throws {
        for kind in ReferencePipelines.kinds {
            #expect(try PipelineSource(ReferencePipelines.folder + "/" + kind).checkScheduler() == nil, "\(kind)")
        }
        #expect(try source(nil).source.checkScheduler() == nil)
    }
}

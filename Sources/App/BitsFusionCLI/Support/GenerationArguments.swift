// SPDX-License-Identifier: Apache-2.0
// Options of every command that makes images.

import ArgumentParser
import BitsFusion

struct GenerationArguments: ParsableArguments {
    @Option(help: "Sampling steps; a packed file knows the steps that it was packed for.")
    var steps = 50

    @Option(help: "Sampler: pndm, ddim or dpm++.")
    var sampler: SamplerKind = .pndm

    @Option(help: "Classifier-free guidance; 1 turns it off.")
    var guidanceScale: Float = 3

    @Option(help: "Seed of prompts and initial noise.")
    var seed: UInt64 = 1024

    @Option(help: "Images computed at once.")
    var batchSize = 16

    func validate() throws {
        if steps < 1 { throw ValidationError("--steps: expected 1 or more, found \(steps)") }
        if batchSize < 1 { throw ValidationError("--batch-size: expected 1 or more, found \(batchSize)") }
        if !guidanceScale.isFinite {
            throw ValidationError("--guidance-scale: expected a finite number, found \(guidanceScale)")
        }
    }

    /// The options as the library takes them.
    func options() -> GenerationOptions {
        GenerationOptions(sampler: sampler, steps: steps, guidanceScale: guidanceScale, batchSize: batchSize)
    }
}

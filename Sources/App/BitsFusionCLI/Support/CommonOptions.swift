// SPDX-License-Identifier: Apache-2.0
// Groups of options that several commands share.

import ArgumentParser
import BitsFusion

/// Options of every command that computes.
struct CommonOptions: ParsableArguments {
    @Option(help: "Number of threads (default: BITSFUSION_THREADS, else the processors that the process may use).")
    var threads: Int?

    @Flag(name: .shortAndLong, help: "Print no progress.")
    var quiet = false

    func validate() throws {
        let range = Threads.countRange
        if let threads, !range.contains(threads) {
            throw ValidationError(
                "--threads: expected \(range.lowerBound) to \(range.upperBound), found \(threads)")
        }
    }

    /// Applies the options; the first call of a command.
    func apply() {
        if let threads { Threads.count = threads }
    }

    /// A reporter of `total` steps called `unit` ("layers"), silent with `--quiet`.
    func progress(_ label: String, total: Int, unit: String) -> ProgressReporter {
        ProgressReporter(label, total: total, unit: unit, isQuiet: quiet)
    }
}

/// The option of every command that runs a packed model.
struct ActivationOptions: ParsableArguments {
    @Option(
        help: """
            Activations of packed models. int8: quantized dynamically, for integer products; fp32: not quantized. \
            Other models always compute in float32.
            """)
    var activations = ActivationType.int8

    func apply(to pipeline: DiffusionPipeline) { pipeline.activations = activations }
}

/// Defaults of `SamplingOptions`, which differ between commands.
protocol SamplingDefaults: Sendable {
    static var steps: Int { get }
    static var sampler: SamplerKind { get }
    static var seed: UInt64 { get }
    /// The default of `--guidance-scale` in its help.
    static var guidanceScale: String { get }
}

/// Options of every command that samples images.
struct SamplingOptions<Defaults: SamplingDefaults>: ParsableArguments {
    @Option(parsing: .unconditional, help: "Sampling steps.")
    var steps = Defaults.steps

    @Option(help: "Sampler.")
    var sampler = Defaults.sampler

    @Option(
        parsing: .unconditional,
        help: ArgumentHelp(
            "Classifier-free guidance scale; 1 disables guidance (default: \(Defaults.guidanceScale)).",
            valueName: "scale"))
    var guidanceScale: Float?

    @Option(parsing: .unconditional, help: "Seed of the random numbers.")
    var seed = Defaults.seed

    func validate() throws { try validateSampling(steps: steps, guidanceScale: guidanceScale) }
}

/// Checks values of `--steps` and `--guidance-scale`; nil for defaults.
///
/// - Throws: `ValidationError`.
func validateSampling(steps: Int?, guidanceScale: Float?) throws {
    if let steps, steps < 1 { throw ValidationError("--steps: expected 1 or more, found \(steps)") }
    if let guidanceScale, !guidanceScale.isFinite {
        throw ValidationError("--guidance-scale: expected a finite number, found \(guidanceScale)")
    }
}

/// Options of every command that trains.
struct TrainingFileOptions: ParsableArguments {
    @Flag(help: "Continue the run in the output file, to the same result bit for bit.")
    var resume = false

    @Flag(help: "Start from scratch even if the output file exists.")
    var overwrite = false

    @Option(
        help: """
            Folder for the log: metrics.jsonl with one line per step, and event files for `tensorboard --logdir`.
            """)
    var loggingDir: String?

    func validate() throws {
        if resume && overwrite { throw ValidationError("--resume and --overwrite exclude each other") }
    }
}

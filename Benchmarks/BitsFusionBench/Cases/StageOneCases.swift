// SPDX-License-Identifier: Apache-2.0
// Steps of stage I (BitsFusion, section 4.2): teacher forward, student with fake-quantized layers, noise and feature
// loss, backward, AdamW. As in `bitsfusion distill --stage 1`, with random parameters.

import BitsFusion

enum StageOneCases {
    static var all: [BenchmarkCase] {
        let small = StageOneSetup(unet: .shapes(batch: 16))
        return [small.benchmark("stage I shapes unet, batch 16"), large, largeWithLeastMemory]
    }

    private static var largeSetup: StageOneSetup {
        var setup = StageOneSetup(unet: .stableDiffusion(size: 32))
        setup.teacherType = .bfloat16
        setup.comparedLayers = [
            "conv_in", "down_blocks.0.attentions.0.transformer_blocks.0", "mid_block.resnets.0.conv1",
            "up_blocks.3.resnets.2", "conv_out",
        ]
        return setup
    }

    private static let peakLimit = 18_000_000_000

    /// The step with a target: teacher in bfloat16, moments in Float32, as in PyTorch.
    private static var large: BenchmarkCase {
        var benchmark = largeSetup.benchmark("stage I sd15 unet 32x32")
        benchmark.targets = RatioTargets(bfloat16: 0.35)
        // Student, gradients and two moments take 13.8 GB; the rest is for the teacher and the backward pass.
        benchmark.needs = MemoryNeeds(ours: peakLimit, twin: 21_500_000_000)
        benchmark.peakLimit = peakLimit
        benchmark.optionalTwins = [.float32]
        return benchmark
    }

    /// The same with all options that save memory.
    private static var largeWithLeastMemory: BenchmarkCase {
        var setup = largeSetup
        setup.momentType = .bfloat16
        setup.checkpointing = .blocks
        var benchmark = setup.benchmark(
            "stage I sd15 unet 32x32, moments in bfloat16, checkpointing blocks")
        benchmark.needs = MemoryNeeds(ours: 14_000_000_000, twin: 0)
        benchmark.peakLimit = peakLimit
        benchmark.twins = []
        return benchmark
    }
}

/// One distillation step of one UNet.
private struct StageOneSetup {
    let unet: BenchmarkUNet
    /// The type of the teacher's linear and convolution weights; in PyTorch, the type of all its parameters.
    var teacherType = ElementType.float32
    /// The type of the optimizer's moments.
    var momentType = ElementType.float32
    var checkpointing = GradientCheckpointing.none
    /// Layers whose gradients are compared, as prefixes of paths; empty: all.
    var comparedLayers: [String] = []

    init(unet: BenchmarkUNet) { self.unet = unet }

    /// Ternary; the first and the last convolution have 8 bits.
    private static let bits = BitWidth(1)
    private static let learningRate: Float = 1e-5

    func benchmark(_ name: String) -> BenchmarkCase {
        BenchmarkCase(
            name: "train " + name, group: .train, operation: "stage_one",
            options: [
                "maximum_code": QuantizationGrid(Self.bits).maximumCode,
                "maximum_code_of_ends": QuantizationGrid(.firstAndLast).maximumCode,
                "rounds_teacher": teacherType == .bfloat16 ? 1 : 0,
            ],
            text: unet.twinText.merging(["compared": comparedLayers.joined(separator: " ")]) { first, _ in
                first
            },
            // A forward pass of the teacher, and forward and backward of the student, where backward counts twice.
            operations: unet.operations.map { 4 * $0 }, tolerances: .training
        ) { try workload() }
    }

    private var options: StageOptions {
        StageOptions(
            training: TrainingOptions(
                steps: 1_000_000, batchSize: unet.batch, learningRate: Self.learningRate,
                schedule: LearningRateSchedule(warmupSteps: 0, decay: .constant, finalFactor: 1),
                beta2: 0.999,
                maximumGradientNorm: nil, momentDtype: momentType, checkpointing: checkpointing,
                saveEvery: 1_000_000),
            scaleLearningRate: Self.learningRate, textDropping: 0, teacherDtype: teacherType)
    }

    private func workload() throws -> Workload {
        let teacher = try DiffusionPipeline(denoiser: try unet.model(), textEncoder: nil, schedulerJSON: nil)
        let student = try DiffusionPipeline(denoiser: try unet.model(), textEncoder: nil, schedulerJSON: nil)
        try student.denoiser.quantize(
            recipe: .uniform(Self.bits, over: student.denoiser.inventory()), initialization: .alternating(rounds: 3))
        // Before the teacher's weights are rounded; both models have the same initial parameters.
        let shared = unet.shared(teacher.denoiser)
        let inputs = try unet.inputs(unet.config())
        let data = StoredDistillationData(
            latents: inputs.sample, encoderHiddenStates: inputs.states,
            emptyHiddenStates: inputs.states.sliced(axis: 0, 0..<1))
        let options = options
        let trainer = try DistillationTrainer(
            student: student, teacher: teacher, data: data, stage: .one, options: options)
        let objective = DistillationObjective(
            teacher: teacher.denoiser, student: student.denoiser, schedule: try student.noiseSchedule(), data: data,
            stage: .one, options: options)
        let parameters = student.denoiser.store.parameters.filter(\.isTrainable)

        let (batch, random) = try Self.firstBatch(options.training)
        var named = try Self.drawn(objective, batch, random)
        for layer in student.denoiser.quantizedLayers {
            guard let weight = layer.weight as? FakeQuantizedWeight else { continue }
            named["scales." + layer.path] = weight.scaleParameter.value
        }
        return Workload(
            inputs: named, shared: shared,
            pass: { try trainer.run(progress: { _, _, _ in }, save: {}, shouldStop: { true }) },
            results: {
                var random = random
                let loss = try objective(batch, random: &random)
                loss.total.backward()
                let compared = parameters.filter { parameter in
                    comparedLayers.isEmpty || comparedLayers.contains { parameter.name.hasPrefix($0 + ".") }
                }
                var results = TrainingCases.gradients(of: compared)
                for (name, value) in loss.parts { results["loss." + name] = Tensor(scalar: value) }
                for parameter in parameters { parameter.gradient = nil }
                return results
            })
    }

    /// The arguments of the first step of a run.
    private static func firstBatch(_ options: TrainingOptions) throws -> (MicroBatch, Philox) {
        var found: (MicroBatch, Philox)?
        // A training loop without parameters, for one step.
        try TrainingLoop(options, groups: []).run(
            objective: { batch, random in
                found = (batch, random)
                return StepLoss(Tensor(scalar: 0))
            }, shouldStop: { true })
        guard let found else { preconditionFailure("training loop: a step without a batch") }
        return found
    }

    /// The values that the objective draws for that step: the noisy sample, its timesteps, its conditions.
    private static func drawn(
        _ objective: DistillationObjective, _ part: MicroBatch, _ random: Philox
    ) throws -> [String: Tensor] {
        var random = random
        let batch = try objective.data.batch(
            part.samples, textDropping: objective.options.textDropping, random: &random)
        let times = objective.options.timesteps.draw(
            part.count, trainTimesteps: objective.schedule.trainTimesteps, using: &random)
        random.skipToBlock()
        let noise = random.normal(batch.samples.shape)
        return UNetInputs(
            sample: objective.schedule.addNoise(to: batch.samples, noise: noise, timesteps: times),
            timesteps: Tensor(times.map(Float.init), shape: [part.count]), states: batch.encoderHiddenStates
        ).named
    }
}

// SPDX-License-Identifier: Apache-2.0
// One run of `bitsfusion sample`.

import BitsFusion
import Foundation

struct SampleRun {
    private let command: SampleCommand
    private let model: StagedPipeline
    private var reader: CheckpointReader { model.reader }
    /// Empty with embeddings.
    private let prompts: [AdaptedPrompt]
    /// Consecutive prompts with the same LoRAs; with embeddings, one for all.
    private let groups: [Group]

    /// Prompts with the same LoRAs.
    private struct Group {
        var prompts: Range<Int>
        let loras: [LoRAReference]
        let branches: LoRABranches
    }

    init(_ command: SampleCommand) throws {
        self.command = command
        model = try StagedPipeline(command.model, activations: command.computation.activations.activations)
        let texts = try command.main.prompts.map { try PromptFile.prompts(at: $0) } ?? command.main.prompt
        let prompts = try texts.map { try AdaptedPrompt($0, folder: command.main.loraFolder ?? ".") }
        self.prompts = prompts
        groups = try Self.groups(prompts.map { command.main.lora + $0.loras }, command.main.lora, model)
    }

    private static func groups(
        _ loras: [[LoRAReference]], _ common: [LoRAReference], _ model: StagedPipeline
    ) throws -> [Group] {
        guard !loras.isEmpty else {
            return [Group(prompts: 0..<0, loras: common, branches: try model.branches(common))]
        }
        var groups: [Group] = []
        for (index, loras) in loras.enumerated() {
            if groups.last?.loras == loras {
                groups[groups.count - 1].prompts = groups[groups.count - 1].prompts.lowerBound..<index + 1
            } else {
                groups.append(Group(prompts: index..<index + 1, loras: loras, branches: try model.branches(loras)))
            }
        }
        return groups
    }

    func run() throws {
        let (main, choices) = (command.main, command.sampling)
        let output = main.output ?? (model.hasVAE ? "image.png" : "grid.png")
        try checkOutputs(output)
        // The denoiser's config decides sizes before anything large is read.
        let config = try model.config()
        let vaeConfig = try model.vaeConfig()
        let kind = try addingFile(command.model.name) { try ImageConditioning(config) }
        try checkImageOptions(kind)
        try checkOutputOptions(hasVAE: model.hasVAE, isLatent: config.isLatent)
        let image = try command.image.initImage.map { try ImageFile.read($0) }
        let scaleFactor = config.isLatent ? vaeConfig?.vaeScaleFactor ?? 8 : 1
        let size = try sampleSize(config, scaleFactor: scaleFactor, image: kind == .inpainting ? nil : image)
        // With --init-image the last steps only are computed.
        if image == nil { try model.checkSteps(choices.steps, sampler: choices.sampler) }
        let perPrompt = main.count ?? (model.hasVAE ? 1 : (main.rows ?? 1) * columns)
        let conditions = try conditions(config, size).repeated(perPrompt)
        try addingFile(command.model.name) { try conditions.validate(for: config, size: size) }
        let seeds = (0..<conditions.count).map { choices.seed &+ UInt64($0 % perPrompt) }
        let inputs = try imageInputs(config, kind, image, size)
        let (samples, options) = try samples(conditions, seeds: seeds, inputs, size, perPrompt: perPrompt)
        try write(samples, options, seeds: seeds, perPrompt: perPrompt, to: output, isLatent: config.isLatent)
    }

    /// Samples with the denoiser, which is released before the VAE is opened.
    private func samples(
        _ conditions: PromptEmbeddings, seeds: [UInt64], _ inputs: SamplingInputs, _ size: SampleSize?, perPrompt: Int
    ) throws -> (Tensor, GenerationOptions) {
        let choices = command.sampling
        let pipeline = try model.denoiser()
        let isLatent = pipeline.denoiser.config.isLatent
        let steps = choices.steps ?? pipeline.denoiser.timeFeatures?.timesteps.count ?? 50
        let options = GenerationOptions(
            sampler: try choices.sampler ?? model.ownSampler(pipeline, steps: steps),
            steps: steps,
            guidanceScale: StagedPipeline.guidanceScale(
                choices.guidanceScale, hasMask: command.image.mask != nil, for: pipeline.denoiser.config),
            guidanceRescale: choices.guidanceRescale,
            batchSize: command.computation.batchSize ?? (pipeline.isLarge ? 1 : 8), size: size,
            randomNumbers: choices.rng ?? (isLatent ? .torch : .philox))
        let progress = command.common.progress(
            "sampling", total: options.steps * conditions.count, unit: conditions.count == 1 ? "steps" : "image steps")
        let parts = try groups.map { group in
            let images =
                prompts.isEmpty
                ? 0..<conditions.count : group.prompts.lowerBound * perPrompt..<group.prompts.upperBound * perPrompt
            try group.branches.attach(to: pipeline.denoiser.store, of: reader.header.component)
            return try model.checked(from: command.image.latents) {
                try pipeline.generate(
                    conditions[images], seeds: Array(seeds[images]), options: options,
                    inputs: inputs.images(images, of: conditions.count)
                ) { share in
                    let done = Double(images.lowerBound) + share * Double(images.count)
                    progress.update(share: done / Double(conditions.count))
                    try InterruptFlag.check()
                }
            }
        }
        progress.endLine()
        return (.concatenated(parts, axis: 0), options)
    }

    /// The defaults of diffusers' pipelines. SDXL with a mask starts from the image, too, with almost no trace of it.
    private static func strength(hasMask: Bool, for config: any DenoiserConfig) -> Double {
        let isXL = config.addedConditionsType != nil
        return hasMask ? (isXL ? 0.9999 : 1) : (isXL ? 0.3 : 0.8)
    }

    // MARK: Inputs

    private func checkOutputs(_ output: String) throws {
        let (main, image) = (command.main, command.image)
        let optional = [main.embeddings, main.prompts, image.initImage, image.mask, image.latents]
        let inputs =
            try [command.model.path()] + optional.compactMap { $0 } + groups.flatMap { $0.loras.map(\.path) }
        // The name of a single image, and the one that runs with numbered images have in common.
        var outputs = [output, latentsFile(output)].compactMap { $0 }
        if model.hasVAE {
            let count = try imageCount()
            if count > 1 { outputs += (1...count).map { numbered(output, $0) } }
        }
        try Output.checkCanCreate(outputs, keeping: inputs)
    }

    /// The number of images, before the embeddings are read.
    private func imageCount() throws -> Int {
        let perPrompt = command.main.count ?? 1
        guard let embeddings = command.main.embeddings else { return prompts.count * perPrompt }
        let rows = try SafetensorsReader(embeddings).stored("encoder_hidden_states")?.shape.first ?? 1
        // Too large a number is refused where the embeddings are read.
        return min(rows, 100_000) * perPrompt
    }

    /// The file that latents are written to; nil where they are not.
    private func latentsFile(_ output: String) -> String? {
        if let path = command.image.saveLatents { return path }
        guard !model.hasVAE, (try? model.config().isLatent) == true else { return nil }
        return PathParts(output).sibling(PathParts(output).stem + ".safetensors")
    }

    /// Refuses image options that the model has no use for, and requires those that it needs.
    private func checkImageOptions(_ kind: ImageConditioning) throws {
        let (image, name) = (command.image, command.model.name)
        func refuse(_ option: String, _ reason: String) throws {
            throw CommandError(.usage, "\(name): --\(option): \(reason)")
        }
        if image.initImage == nil, kind != .none {
            let needed =
                kind == .inpainting ? "an inpainting model needs --init-image and --mask" : "the model edits images"
            try refuse("init-image", "missing: \(needed); give an image")
        }
        if kind == .inpainting, image.mask == nil { try refuse("mask", "missing: an inpainting model needs one") }
        if kind == .image, image.mask != nil { try refuse("mask", "not for InstructPix2Pix models; remove it") }
        if kind == .image, image.strength != nil { try refuse("strength", "not for InstructPix2Pix models; remove it") }
        if kind != .image, image.imageGuidanceScale != nil {
            try refuse("image-guidance-scale", "for InstructPix2Pix models only; remove it")
        }
        if command.main.embeddings != nil, command.sampling.clipSkip != nil {
            try refuse("clip-skip", "cannot be combined with --embeddings")
        }
    }

    /// Refuses options that have no effect on what the model writes.
    private func checkOutputOptions(hasVAE: Bool, isLatent: Bool) throws {
        let name = command.model.name
        if hasVAE, command.main.rows != nil || command.main.columns != nil {
            throw CommandError(
                .usage,
                "\(name): --rows, --columns: for grids only, but the model writes one file per image; use --count")
        }
        if !isLatent, command.image.saveLatents != nil {
            throw CommandError(.usage, "\(name): --save-latents: the model has no latents; remove it")
        }
        if !hasVAE, command.computation.vaeTiling {
            throw CommandError(.usage, "\(name): --vae-tiling: the model has no VAE; remove it")
        }
    }

    /// The images per row of a grid.
    private var columns: Int { command.main.columns ?? 4 }

    /// The size of samples for --height and --width, else that of the image to change as in diffusers, cut down to a
    /// multiple of `scaleFactor`; nil for the model's own.
    private func sampleSize(
        _ config: any DenoiserConfig, scaleFactor: Int, image: RGBImage?
    ) throws -> SampleSize? {
        let (height, width) = (command.image.height, command.image.width)
        if height == nil && width == nil {
            guard let image, command.image.mask == nil else { return nil }
            let size = SampleSize(height: image.height / scaleFactor, width: image.width / scaleFactor)
            guard size.height > 0, size.width > 0 else {
                throw CommandError(
                    .badData,
                    "\(command.image.initImage ?? ""): expected at least \(scaleFactor)x\(scaleFactor) "
                        + "pixels, found \(image.width)x\(image.height)")
            }
            return size
        }
        let own = config.sampleShape(batch: 1)
        for (name, value) in [("height", height), ("width", width)] {
            if let value, value % scaleFactor != 0 {
                throw CommandError(
                    .usage, "--\(name): expected a multiple of \(scaleFactor), found \(value)")
            }
        }
        return SampleSize(
            height: height.map { $0 / scaleFactor } ?? own[2], width: width.map { $0 / scaleFactor } ?? own[3])
    }

    private func conditions(_ config: any DenoiserConfig, _ size: SampleSize?) throws -> PromptEmbeddings {
        if let embeddings = command.main.embeddings {
            return try addingFile(embeddings) { try PromptEmbeddings(embeddings: embeddings, config: config) }
        }
        let encoder = try model.promptEncoder()
        let negative = command.main.negativePrompt
        let texts = prompts.map(\.text)
        try StagedPipeline.warnOfTruncation(texts + [negative].compactMap { $0 }, by: encoder, option: "--prompt")
        let options = PromptOptions(clipSkip: command.sampling.clipSkip, imageSize: try model.imageSize(of: size))
        let parts = try groups.map { group in
            for part in encoder.encoders { try group.branches.attach(to: part.store, of: part.name) }
            return try encoder.embeddings(
                Array(texts[group.prompts]), negativePrompts: negative.map { text in group.prompts.map { _ in text } },
                options: options)
        }
        return .concatenated(parts)
    }

    private func imageInputs(
        _ config: any DenoiserConfig, _ kind: ImageConditioning, _ image: RGBImage?, _ size: SampleSize?
    ) throws -> SamplingInputs {
        var inputs = SamplingInputs()
        if let path = command.image.latents {
            let file = try SafetensorsReader(path)
            guard file.stored("latents") != nil else {
                throw CommandError(.badData, "\(path): latents: missing; give a file with a tensor of this name")
            }
            inputs.noise = try addingFile(path) { try file.input("latents") }
        }
        guard let image else { return inputs }
        let stored = try addingFile(command.model.name) { try AutoencoderKL(in: reader, precision: .keep16Bit) }
        guard let vae = stored, vae.parts != .decoder else {
            throw CommandError(
                .badData,
                "\(command.model.name): --init-image needs the encoder of a VAE, which the file does not have; "
                    + "use a latent model that was packed without --no-vae-encoder")
        }
        vae.store.setActivations(.float32)
        let pixels = try model.imageSize(of: size)
        let resized = image.resized(width: pixels.width, height: pixels.height)
        let shape = [1, 1, pixels.height, pixels.width]
        let mask = try command.image.mask.map { path in
            let gray = try ImageFile.read(path).resized(width: pixels.width, height: pixels.height).grayscale
            return Tensor(gray.map { $0 >= 0.5 ? 1 : 0 }, shape: shape)
        }
        let tensor = Tensor(resized.modelRange, shape: [1, 3, pixels.height, pixels.width])
        try inputs.setImage(tensor, mask: mask, conditioning: kind, vae: vae)
        inputs.strength = command.image.strength ?? Self.strength(hasMask: mask != nil, for: config)
        inputs.imageGuidanceScale = command.image.imageGuidanceScale ?? 1.5
        return inputs
    }

    // MARK: Outputs

    private func write(
        _ samples: Tensor, _ options: GenerationOptions, seeds: [UInt64], perPrompt: Int, to output: String,
        isLatent: Bool
    ) throws {
        if isLatent, let latents = latentsFile(output) {
            try Output.tensors([("latents", samples)], to: latents)
            Output.line(latents)
        }
        guard isLatent, let vae = try model.decoder() else {
            let images = isLatent ? latentPreview(samples) : images(samples)
            try PNGFile.write(grid(of: images, columns: columns, prompts: prompts.map(\.text)).render(), to: output)
            Output.line(output)
            return
        }
        vae.useTiling = command.computation.vaeTiling
        for index in 0..<samples.shape[0] {
            let pixels = withoutGradients {
                vae.decode(vae.config.unscaledLatents(samples.sliced(axis: 0, index..<index + 1)))
            }
            let path = samples.shape[0] == 1 ? output : numbered(output, index + 1)
            try PNGFile.write(
                images(pixels)[0], to: path,
                text: [("parameters", parameters(index / perPrompt, seeds[index], options, pixels))])
            Output.line(path)
            try InterruptFlag.check()
        }
    }

    private func numbered(_ path: String, _ number: Int) -> String {
        PathParts(path).sibling("\(PathParts(path).stem)-\(number).png")
    }

    /// The text of the chunk `parameters`, in the form that the tools of Stable Diffusion's users read.
    private func parameters(_ prompt: Int, _ seed: UInt64, _ options: GenerationOptions, _ pixels: Tensor) -> String {
        var settings = [
            "Steps: \(options.steps)", "Sampler: \(options.sampler.rawValue)", "CFG scale: \(options.guidanceScale)",
            "Seed: \(seed)", "Size: \(pixels.shape[3])x\(pixels.shape[2])", "RNG: \(options.randomNumbers.rawValue)",
            "Model: \(PathParts(command.model.name).stem)",
        ]
        settings += command.main.lora.map { "LoRA: \(PathParts($0.path).stem)=\($0.weight)" }
        settings.append("Version: bitsfusion \(toolVersion)")
        return [
            prompts.isEmpty ? nil : prompts[prompt].source,
            command.main.negativePrompt.map { "Negative prompt: \($0)" },
            settings.joined(separator: ", "),
        ].compactMap { $0 }.joined(separator: "\n")
    }
}

extension PromptEmbeddings {
    /// Repeats each condition `times` times.
    func repeated(_ times: Int) -> PromptEmbeddings {
        guard times > 1 else { return self }
        return map { tensor in
            .concatenated(
                (0..<tensor.shape[0]).flatMap { row in
                    Array(repeating: tensor.sliced(axis: 0, row..<row + 1), count: times)
                }, axis: 0)
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// `bitsfusion dataset`: makes a set of latents and captions to train on.

import ArgumentParser
import BitsFusion
import Foundation

struct DatasetCommand: CommandOfProcesses {
    static let configuration = CommandConfiguration(
        commandName: "dataset",
        abstract: "Make a training set from captioned images or prompts.",
        usage: """
            bitsfusion dataset <images> --model <model> [options]
            bitsfusion dataset --synthesize <prompts> --model <model> [options]
            """,
        discussion: """
            Reads a folder of images with metadata.jsonl or metadata.csv (columns file_name and text) or with a .txt \
            or .caption file beside each image, a webdataset tar file, or a folder of them. PNG, JPEG and WebP images \
            are turned upright, resized with torchvision's antialiased bilinear filter, cropped at the center and \
            encoded by the VAE of the model. Stores mean and log variance of the latents, token ids, original sizes \
            and crops; `bitsfusion distill --data` computes text embeddings when it needs them.

            With --synthesize, the model itself samples latents for the prompts of a text file, JSON lines or TSV \
            file, and no images are needed.

            Images that cannot be used are counted, listed and skipped, up to --skip-limit. An interrupted or killed \
            run continues with --resume, to the same file; until it is complete its samples are in <output>.part.

            Processes that `mpirun` starts share the images or prompts.

            Examples:

              bitsfusion dataset photos/ --model sd15.h5 -o set.h5
              bitsfusion dataset photos/ --model sdxl.h5 --aspect-buckets -o set.h5
              bitsfusion dataset --synthesize prompts.txt --model sd15.h5 -o set.h5
            """)

    @Argument(help: "Folder of images, tar file, or folder of tar files.")
    var images: String?

    @OptionGroup(title: "Common options") var main: MainOptions
    @OptionGroup(title: "Images") var preparation: ImageOptions
    @OptionGroup(title: "Synthesis") var synthesis: SynthesisOptions
    @OptionGroup(title: "Resuming") var saving: SavingOptions
    @OptionGroup(title: "Several processes") var processes: ProcessOptions
    @OptionGroup var common: CommonOptions

    struct MainOptions: ParsableArguments {
        @Option(help: ModelReference.help)
        var model: ModelReference

        @Option(name: .shortAndLong, help: "Set to write.")
        var output = "set.h5"

        @Option(help: "Seed of the samples of --synthesize, and of the masks for inpainting models.")
        var seed: UInt64 = 0
    }

    struct ImageOptions: ParsableArguments {
        @Option(
            parsing: .unconditional, help: "Height and width of images in pixels (default: the model's own size).")
        var resolution: Int?

        @Flag(help: "Keep aspect ratios: images are cropped to the closest of several sizes of equal area.")
        var aspectBuckets = false

        @Option(parsing: .unconditional, help: "Heights and widths of --aspect-buckets are multiples of this number.")
        var bucketStep: Int?

        @Option(help: "Column of metadata files, or key of JSON files, with the caption or a list of captions.")
        var captionColumn: String?

        @Option(parsing: .unconditional, help: "Images that are decoded at the same time (default: half the threads).")
        var workers: Int?

        @Option(parsing: .unconditional, help: "Number of images that may be skipped (default: 100).")
        var skipLimit: Int?

        /// The options that are given.
        var given: [String] {
            [
                resolution.map { _ in "--resolution" }, aspectBuckets ? "--aspect-buckets" : nil,
                bucketStep.map { _ in "--bucket-step" }, captionColumn.map { _ in "--caption-column" },
                workers.map { _ in "--workers" }, skipLimit.map { _ in "--skip-limit" },
            ].compactMap { $0 }
        }

        func validate() throws {
            let ranges = [
                ("resolution", resolution, 1...8192), ("bucket-step", bucketStep, 1...1024),
                ("workers", workers, 1...256), ("skip-limit", skipLimit, 0...Int.max),
            ]
            for (name, value, range) in ranges {
                if let value, !range.contains(value) {
                    let expected =
                        range.upperBound == Int.max
                        ? "\(range.lowerBound) or more" : "\(range.lowerBound) to \(range.upperBound)"
                    throw ValidationError("--\(name): expected \(expected), found \(value)")
                }
            }
            if bucketStep != nil, !aspectBuckets {
                throw ValidationError("--bucket-step: has no effect without --aspect-buckets; add it")
            }
        }
    }

    struct SynthesisOptions: ParsableArguments {
        @Option(help: ArgumentHelp("Prompts to sample the model for: .txt, .jsonl or .tsv.", valueName: "prompts"))
        var synthesize: String?

        @Option(parsing: .unconditional, help: "Samples per prompt (default: 1).")
        var count: Int?

        @Option(parsing: .unconditional, help: "Sampling steps (default: 50).")
        var steps: Int?

        @Option(help: "Sampler (default: the model's own).")
        var sampler: SamplerKind?

        @Option(
            parsing: .unconditional,
            help: "Classifier-free guidance scale (default: 7.5; SDXL 5, pixel-space models 3).")
        var guidanceScale: Float?

        @Option(
            parsing: .unconditional,
            help: """
                States to store of each trajectory (default: 0). Stage 1 trains on them in the place of latents with \
                noise.
                """)
        var trajectoryStates: Int?

        @Option(parsing: .unconditional, help: "Samples computed at once (default: 8, or 1 for large models).")
        var batchSize: Int?

        /// The options that are given.
        var given: [String] {
            [
                count.map { _ in "--count" }, steps.map { _ in "--steps" }, sampler.map { _ in "--sampler" },
                guidanceScale.map { _ in "--guidance-scale" }, trajectoryStates.map { _ in "--trajectory-states" },
                batchSize.map { _ in "--batch-size" },
            ].compactMap { $0 }
        }

        func validate() throws {
            try validateSampling(steps: steps, guidanceScale: guidanceScale)
            for (name, value, range) in [
                ("count", count, 1...1_000_000), ("trajectory-states", trajectoryStates, 0...1000),
                ("batch-size", batchSize, 1...1000),
            ] {
                if let value, !range.contains(value) {
                    throw ValidationError(
                        "--\(name): expected \(range.lowerBound) to \(range.upperBound), found \(value)")
                }
            }
        }
    }

    struct SavingOptions: ParsableArguments {
        @Flag(help: "Continue an interrupted run, to the same file.")
        var resume = false

        @Flag(help: "Start from scratch even if the output or an interrupted run exists.")
        var overwrite = false

        func validate() throws {
            if resume && overwrite { throw ValidationError("--resume and --overwrite exclude each other") }
        }
    }

    func validate() throws {
        guard (images == nil) != (synthesis.synthesize == nil) else {
            throw ValidationError("<images>, --synthesize: expected exactly one of them")
        }
        if images == nil, let option = preparation.given.first {
            throw ValidationError("\(option): for images only; remove it")
        }
        if images != nil, let option = synthesis.given.first {
            throw ValidationError("\(option): for --synthesize only; remove it")
        }
    }

    func run() throws {
        common.apply()
        InterruptFlag.install()
        try Processes.start(processes, common)
        try DatasetRun(self).run()
    }
}

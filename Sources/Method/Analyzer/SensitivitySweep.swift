// SPDX-License-Identifier: Apache-2.0
// The sensitivity analysis (BitsFusion, arXiv:2406.04333, Algorithm 1, parts 1 and 2): quantize one layer alone to one
// width (balanced grid, alternating initialisation), fine-tune it if that is wanted, measure what it does to images or
// predictions, put the layer's weight back, go on with the next candidate.

import Evaluation
import Foundation
import Layers
import Networks
import Pipelines
import Quantization
import Recipes
import Schedulers
import Tensors

/// Measures every quantizable layer of one model at every width.
public final class SensitivitySweep {
    /// What is measured, in this order: layers as a forward pass comes to them, widths narrowest first.
    public let candidates: [SensitivityCandidate]
    /// Candidates whose images held NaN or infinity; the table leaves these widths out, so no rule can choose them.
    public private(set) var unusable: [SensitivityCandidate] = []

    private let pipeline: DiffusionPipeline
    private let model: FileReference
    private let subjects: CalibrationSet
    private let captionScore: CaptionScore?
    private let options: SensitivityOptions
    private let manifest: RunManifest
    private let inventory: ModelInventory
    private let layers: [any WeightedLayer]
    private let policy: any LayerPolicy
    private let schedule: NoiseSchedule

    /// Prepares an analysis.
    ///
    /// - Parameters:
    ///   - pipeline: a full-precision model. Its weights are exchanged while the sweep runs, and restored.
    ///   - model: the file that the model is from.
    ///   - subjects: the images to make.
    ///   - clip: scores images against their prompts; nil leaves CLIP drops out.
    ///   - options: widths, layers, sampling.
    ///   - manifest: this run; its inputs pin what a resumed run must read again.
    /// - Precondition: at least one width.
    /// - Throws: `SensitivityError`: `.alreadyQuantized`, `.pattern`, `.noLayers`, `.clipNeedsImages`; `PipelineError`
    ///   and `CaptionError` for a CLIP-proxy of another vocabulary; `RecipeError`, `SamplerError`, `ConfigError`.
    public init(
        pipeline: DiffusionPipeline, model: FileReference, subjects: CalibrationSet, clip: (any PromptScorer)?,
        options: SensitivityOptions, manifest: RunManifest
    ) throws {
        precondition(!options.widths.isEmpty, "SensitivitySweep: no widths")
        if let (path, width) = pipeline.recipe?.layers.min(by: { $0.key < $1.key }) {
            throw SensitivityError.alreadyQuantized(path: path, width: width)
        }
        self.pipeline = pipeline
        self.model = model
        self.subjects = subjects
        self.options = options
        self.manifest = manifest
        let denoiser = try pipeline.stagedDenoiser()
        if clip != nil && (denoiser.config.inChannels != 3 || subjects.prompts.isEmpty) {
            throw SensitivityError.clipNeedsImages(channels: denoiser.config.inChannels)
        }
        captionScore = try clip.map { try CaptionScore($0, prompts: subjects.prompts) }
        inventory = try pipeline.inventory()
        layers = try Self.layers(of: denoiser, options)
        policy = denoiser.layerPolicy
        schedule = try pipeline.noiseSchedule()
        // Sizes and conditions that the model cannot take are an error here, not a broken assumption later.
        try denoiser.config.validate(
            sample: pipeline.sampleShape(batch: 1, size: options.generation.size), timestep: [1],
            encoderHiddenStates: [1] + subjects.conditions.conditional.shape.dropFirst())
        candidates = layers.flatMap { layer in
            Self.widths(of: layer, denoiser.layerPolicy, options).map {
                SensitivityCandidate(path: LayerID(layer.path), width: $0)
            }
        }
        // Steps that the sampler cannot take are found here, not after the journal exists.
        _ = try pipeline.samplerConfig(options.generation.sampler)
            .sampler(options.generation.sampler, steps: options.generation.steps)
    }

    /// Measures what is left to measure.
    ///
    /// - Parameters:
    ///   - output: where the table shall lie; beside it, at `<output>.partial`, the journal of the run is kept until
    ///     the table is written. nil keeps everything in memory.
    ///   - unfinished: what becomes of the journal of an interrupted run. A resumed one ends with the bytes of a run
    ///     in one go.
    ///   - progress: called at the start and after every candidate.
    ///   - shouldStop: asked after every sampling step; true ends the run and leaves the journal.
    /// - Returns: the table; nil when stopped.
    /// - Throws: `SensitivityError`, `RecipeError` where the table cannot be written, and what sampling throws.
    public func run(
        output: URL? = nil, unfinished: UnfinishedAnalysis = .refused,
        progress: (SensitivityProgress) -> Void = { _ in },
        shouldStop: @escaping () -> Bool = { false }
    ) throws -> SensitivityTable? {
        let journal = try output.map {
            try SensitivityJournal(
                path: Self.journalPath(of: $0), header: header, candidates: Set(candidates),
                unfinished: unfinished)
        }
        var records = journal?.records ?? [:]
        do {
            try measure(into: &records, journal, progress) { if shouldStop() { throw Interruption() } }
        } catch is Interruption {
            return nil
        } catch {
            // A journal that holds nothing is no use to anyone.
            if records.isEmpty { try? journal?.remove() }
            throw error
        }
        unusable = candidates.filter { records[$0]?.measure == nil }
        let table = table(records, manifest: journal?.header.manifest ?? manifest)
        if let output, let journal {
            try table.write(to: output)
            try journal.remove()
        }
        return table
    }

    /// Where the journal of an analysis lies whose table goes to `output`.
    public static func journalPath(of output: URL) -> String { output.path + ".partial" }

    /// Whether `table` is what this analysis would measure: same program, files, protocol, layers and widths.
    public func isFinished(in table: SensitivityTable) -> Bool {
        let widths = Set(table.layers.filter { $0.role == .searched }.flatMap(\.bits.keys))
        return table.model?.sha256 == model.sha256 && table.generation == generation
            && table.manifest?.toolVersion == manifest.toolVersion
            && table.manifest?.inputs.map(\.sha256) == manifest.inputs.map(\.sha256)
            && Set(table.layers.map(\.path)) == Set(candidates.map(\.path))
            && (widths.isEmpty || widths.isSubset(of: options.widths))
    }

    /// How the images are made, as the table records it.
    public var generation: AnalysisSettings {
        AnalysisSettings(
            measures: MeasurementMode.allCases.filter(options.measures.contains),
            prompts: subjects.prompts, embeddings: subjects.embeddings, seeds: subjects.seeds,
            sampler: options.generation.sampler.rawValue, steps: options.generation.steps,
            size: options.generation.size,
            guidanceScale: Self.decimal(options.generation.guidanceScale),
            qatSteps: options.tuning.steps,
            qatLearningRate: options.tuning.steps > 0 ? Self.decimal(options.tuning.learningRate) : nil,
            qatScaleLearningRate: options.tuning.steps > 0
                ? Self.decimal(options.tuning.scaleLearningRate) : nil,
            qatTimestepsPerImage: options.tuning.steps > 0 ? options.timestepsPerImage : nil,
            timesteps: timesteps)
    }

    /// Through text, so that 7.3 is written as 7.3 and not with the digits of its nearest Float.
    private static func decimal(_ value: Float) -> Double { Double("\(value)") ?? Double(value) }

    /// The timesteps that predictions are compared at, image by image; none where only images are.
    private var timesteps: [Int] {
        guard !options.measures.isDisjoint(with: [.noise, .fisher]) else { return [] }
        return PredictionInputs.drawnTimesteps(
            subjects, timestepsPerImage: options.timestepsPerImage, stream: PredictionInputs.measuring,
            schedule: schedule
        ).flatMap { $0 }
    }

    // MARK: Candidates

    /// The layers that are measured here, in the order in which a forward pass comes to them, so that what lies before
    /// a layer is computed once for all that follow.
    private static func layers(
        of denoiser: any StagedDenoiser, _ options: SensitivityOptions
    ) throws(SensitivityError) -> [any WeightedLayer] {
        var layers = denoiser.quantizedLayers
        if let pattern = options.layerPattern {
            let regex: Regex<AnyRegexOutput>
            do {
                regex = try Regex(pattern)
            } catch {
                throw .pattern(pattern)
            }
            layers = layers.filter { $0.path.contains(regex) }
            guard !layers.isEmpty else { throw .noLayers(pattern: pattern) }
        }
        let staged = layers.enumerated().map {
            ($0.element, denoiser.stage(ofLayer: $0.element.path) ?? -1, $0.offset)
        }
        let ordered = staged.sorted { ($0.1, $0.2) < ($1.1, $1.2) }.map(\.0)
        guard let shard = options.shard else { return ordered }
        let own = ordered.enumerated().filter { shard.contains($0.offset) }.map(\.element)
        guard !own.isEmpty else { throw .emptyShard(shard, layers: ordered.count) }
        return own
    }

    private func widths(of layer: any WeightedLayer) -> [BitWidth] { Self.widths(of: layer, policy, options) }

    private static func widths(
        of layer: any WeightedLayer, _ policy: any LayerPolicy, _ options: SensitivityOptions
    ) -> [BitWidth] {
        policy.role(ofLayer: layer.path) == .firstOrLast ? [.firstAndLast] : options.widths
    }

    // MARK: Measuring

    private struct Interruption: Error {}

    private var header: SensitivityJournalHeader {
        SensitivityJournalHeader(
            generation: generation, widths: options.widths, layerPattern: options.layerPattern,
            shard: options.shard, manifest: manifest)
    }

    private func measure(
        into records: inout [SensitivityCandidate: SensitivityRecord], _ journal: SensitivityJournal?,
        _ progress: (SensitivityProgress) -> Void, interruption: @escaping () throws -> Void
    ) throws {
        let known = records.count
        func report(_ latest: SensitivityCandidate?, _ seconds: Double?) {
            progress(
                SensitivityProgress(
                    done: records.count, total: candidates.count, secondsPerCandidate: seconds, latest: latest
                ))
        }
        report(nil, nil)
        guard known < candidates.count else { return }
        try withFrozenModel {
            let bench = try CandidateEvaluator(
                pipeline: pipeline, subjects: subjects, captionScore: captionScore, options: options,
                interruption: interruption)
            let predicted = try bench.predictedError(
                of: layers, widths: { self.widths(of: $0) }, interruption)
            let clock = ContinuousClock()
            let start = clock.now
            for layer in layers {
                for width in widths(of: layer) {
                    let candidate = SensitivityCandidate(path: LayerID(layer.path), width: width)
                    guard records[candidate] == nil else { continue }
                    var measure = try bench.measure(layer, at: width, interruption)
                    if let predicted, let sensitivity = predicted[candidate] {
                        if sensitivity.isFinite { measure?.fisher = sensitivity } else { measure = nil }
                    }
                    let record = SensitivityRecord(candidate, measure)
                    try journal?.append(record)
                    records[candidate] = record
                    let seconds = (clock.now - start) / .seconds(1)
                    report(candidate, seconds / Double(records.count - known))
                }
            }
        }
    }

    /// What the analysis will cost, from the passes of the reference and a few candidates measured for it.
    ///
    /// - Parameter shouldStop: as in `run`.
    /// - Returns: nil when stopped.
    /// - Throws: what measuring throws.
    public func forecast(shouldStop: @escaping () -> Bool = { false }) throws -> SweepForecast? {
        do {
            return try withFrozenModel {
                try SweepForecast(
                    of: candidates, layers: layers, pipeline: pipeline, subjects: subjects,
                    captionScore: captionScore, options: options
                ) { if shouldStop() { throw Interruption() } }
            }
        } catch is Interruption {
            return nil
        }
    }

    /// Runs `body` while no parameter of the model asks for a gradient.
    private func withFrozenModel<Result>(_ body: () throws -> Result) rethrows -> Result {
        let parameters = pipeline.denoiser.store.parameters
        let flags = parameters.map(\.isTrainable)
        let checkpointing = pipeline.denoiser.checkpointing
        defer {
            for (parameter, flag) in zip(parameters, flags) { parameter.isTrainable = flag }
            pipeline.denoiser.checkpointing = checkpointing
        }
        pipeline.denoiser.store.setTrainable(false)
        pipeline.denoiser.checkpointing = options.checkpointing
        return try body()
    }

    // MARK: The table

    private func table(
        _ records: [SensitivityCandidate: SensitivityRecord], manifest: RunManifest
    ) -> SensitivityTable {
        let shapes = Dictionary(uniqueKeysWithValues: inventory.layers.map { ($0.path, $0) })
        let rows = layers.compactMap { layer -> LayerSensitivity? in
            let path = LayerID(layer.path)
            guard let shape = shapes[path] else { return nil }
            var bits: [BitWidth: SensitivityScores] = [:]
            for width in widths(of: layer) {
                bits[width] = records[SensitivityCandidate(path: path, width: width)]?.measure
            }
            return LayerSensitivity(
                path: path, kind: shape.kind, role: shape.role, group: shape.group, weights: shape.weights,
                skewness: skewness(of: withoutGradients { layer.weight.tensor() }), bits: bits)
        }
        var table = SensitivityTable(
            layers: rows.sorted { $0.path < $1.path }, model: model, inventory: inventory,
            generation: generation, manifest: manifest)
        table.correlations = table.measuredCorrelations()
        return table
    }
}

extension DiffusionPipeline {
    /// The denoiser, for analyses that run it stage by stage.
    ///
    /// - Throws: `SensitivityError.notStaged` where it cannot.
    func stagedDenoiser() throws(SensitivityError) -> any StagedDenoiser {
        guard let staged = denoiser as? any StagedDenoiser else {
            throw .notStaged(architecture: denoiser.config.architecture)
        }
        return staged
    }
}

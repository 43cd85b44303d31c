// SPDX-License-Identifier: Apache-2.0
// The sensitivity analysis (BitsFusion, arXiv:2406.04333, Algorithm 1, parts 1 and 2). For each candidate: quantize one
// layer alone (balanced grid, alternating initialization), fine-tune it if requested, compare images or predictions,
// and restore the layer's weight.

import Communication
import Evaluation
import Foundation
import Layers
import Networks
import Pipelines
import Quantization
import Recipes
import Schedulers
import Tensors

/// Measures every quantized layer of one model at every bit width.
public final class SensitivitySweep {
    /// The candidates in the order of measurement: layers in the order of the forward pass, fewest bits first.
    public let candidates: [SensitivityCandidate]
    /// Candidates whose images contained NaN or infinity; the table leaves them out, so that they are never chosen.
    public private(set) var unusable: [SensitivityCandidate] = []

    private let pipeline: DiffusionPipeline
    private let model: FileReference
    private let calibration: CalibrationSet
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
    ///   - pipeline: a full-precision model. Its weights are replaced while the sweep runs, and restored.
    ///   - model: the file of the model.
    ///   - calibration: prompts and seeds of the images.
    ///   - clip: scores images against their prompts; nil leaves CLIP drops out. Latents are decoded for it.
    ///   - options: bits, layers, sampling.
    ///   - manifest: this run; a resumed run must have equal inputs.
    /// - Precondition: `options.bits` is not empty.
    /// - Throws: `SensitivityError`: `.notStaged`, `.conditionChannels`, `.predictedChannels`, `.alreadyQuantized`,
    ///   `.pattern`, `.noLayers`, `.clipNeedsImages`, `.clipNeedsPrompts`; `DenoiserInputError` for conditions that do
    ///   not fit the model; the scorer's errors; `RecipeError`, `SamplerError`, `ConfigError`.
    public init(
        pipeline: DiffusionPipeline, model: FileReference, calibration: CalibrationSet, clip: (any PromptScorer)?,
        options: SensitivityOptions, manifest: RunManifest
    ) throws {
        precondition(!options.bits.isEmpty, "SensitivitySweep: no bit widths")
        if let (path, bits) = pipeline.recipe?.layers.min(by: { $0.key < $1.key }) {
            throw SensitivityError.alreadyQuantized(path: path, bits: bits)
        }
        self.pipeline = pipeline
        self.model = model
        self.calibration = calibration
        self.options = options
        self.manifest = manifest
        let denoiser = try pipeline.stagedDenoiser(hasSamples: calibration.samples != nil)
        guard calibration.samples == nil || !options.measures.contains(.images) else {
            throw SensitivityError.dataWithoutImages
        }
        if clip != nil {
            let config = denoiser.config
            guard config.inChannels == 3 || config.isLatent && pipeline.vae != nil else {
                throw SensitivityError.clipNeedsImages(channels: config.inChannels)
            }
            guard !calibration.prompts.isEmpty else { throw SensitivityError.clipNeedsPrompts }
        }
        captionScore = try clip.map { try CaptionScore($0, prompts: calibration.prompts) }
        inventory = try pipeline.inventory()
        layers = try Self.layers(of: denoiser, options)
        policy = denoiser.layerPolicy
        schedule = try pipeline.noiseSchedule()
        // Sizes and conditions that the model does not accept are errors here; later they would trap.
        let sample =
            calibration.samples?.shape
            ?? pipeline.sampleShape(batch: calibration.conditions.count, size: options.generation.size)
        for (states, added) in calibration.conditions.parts {
            try denoiser.config.validate(
                sample: sample, timestep: [1], encoderHiddenStates: states.shape, textEmbeds: added?.textEmbeds.shape,
                timeIDs: added?.timeIDs.shape)
        }
        candidates = layers.flatMap { layer in
            Self.bits(of: layer, denoiser.layerPolicy, options).map {
                SensitivityCandidate(path: LayerID(layer.path), bits: $0)
            }
        }
        // Numbers of steps that the sampler does not support are found before the journal exists.
        _ = try pipeline.samplerConfig(options.generation.sampler)
            .sampler(options.generation.sampler, steps: options.generation.steps)
    }

    /// Measures the remaining candidates.
    ///
    /// - Parameters:
    ///   - output: the file of the table. Until it is written, the journal of the run is stored at `<output>.partial`.
    ///     nil keeps everything in memory.
    ///   - unfinished: what happens to the journal of an interrupted run. A resumed run writes the same bytes as a run
    ///     that was not interrupted.
    ///   - communicator: the processes that share the candidates. The first one writes the files and has the table.
    ///   - progress: called at the start and after every candidate.
    ///   - shouldStop: called after every sampling step; true ends the run and keeps the journal.
    /// - Returns: the table; nil when stopped, and in processes that are not the first.
    /// - Throws: `SensitivityError`, and what sampling throws; `PeerFailure`.
    public func run(
        output: URL? = nil, unfinished: UnfinishedAnalysis = .refused,
        communicator: any Communicator = SingleProcess(), progress: (SensitivityProgress) -> Void = { _ in },
        shouldStop: @escaping () -> Bool = { false }
    ) throws -> SensitivityTable? {
        let output = communicator.isFirst ? output : nil
        let journal = try output.map {
            try SensitivityJournal(
                path: Self.journalPath(of: $0), header: header, candidates: Set(candidates),
                unfinished: unfinished)
        }
        var records = journal?.records ?? [:]
        do {
            try measure(into: &records, journal, communicator, progress) { if shouldStop() { throw Interruption() } }
        } catch is Interruption {
            return nil
        } catch is PeerFailure where shouldStop() {
            return nil
        } catch {
            // An empty journal is not kept.
            if records.isEmpty { try? journal?.remove() }
            throw error
        }
        guard communicator.isFirst else { return nil }
        unusable = candidates.filter { records[$0]?.measure == nil }
        let table = table(records, manifest: journal?.header.manifest ?? manifest)
        if let output, let journal {
            do {
                try table.write(to: output)
            } catch {
                throw SensitivityError.table(error, journal: journal.path)
            }
            try journal.remove()
        }
        return table
    }

    /// The path of the journal of an analysis that writes `output`.
    public static func journalPath(of output: URL) -> String { output.path + ".partial" }

    /// Whether `table` has all that this analysis would measure: same program, files, settings, layers and bits.
    public func isFinished(in table: SensitivityTable) -> Bool {
        let measuredBits = Set(table.layers.filter { $0.role == .searched }.flatMap(\.bits.keys))
        return table.model?.sha256 == model.sha256 && table.generation == generation
            && table.manifest?.toolVersion == manifest.toolVersion
            && table.manifest?.inputs.map(\.sha256) == manifest.inputs.map(\.sha256)
            && Set(table.layers.map(\.path)) == Set(candidates.map(\.path))
            && (measuredBits.isEmpty || measuredBits.isSubset(of: options.bits))
    }

    /// `table`, which `isFinished` accepts, with the rate-distortion curves of layers that lack them: tables of earlier
    /// versions have none. nil if it has all of them.
    public func addingRates(to table: SensitivityTable) -> SensitivityTable? {
        var table = table
        let weights = Dictionary(uniqueKeysWithValues: layers.map { (LayerID($0.path), $0) })
        let missing = table.layers.indices.filter {
            table.layers[$0].role == .searched && table.layers[$0].rates.isEmpty
        }
        for index in missing {
            guard let layer = weights[table.layers[index].path] else { continue }
            table.layers[index].rates = CodeRate.curve(of: withoutGradients { layer.weight.tensor() })
        }
        return missing.isEmpty ? nil : table
    }

    /// The settings of the analysis, as the table records them.
    public var generation: AnalysisSettings {
        AnalysisSettings(
            measures: MeasurementMode.allCases.filter(options.measures.contains),
            prompts: calibration.prompts, embeddings: calibration.embeddings, data: calibration.data,
            seeds: calibration.seeds,
            sampler: options.generation.sampler.rawValue, steps: options.generation.steps,
            size: options.generation.size?.height,
            guidanceScale: Self.decimal(options.generation.guidanceScale),
            qatSteps: options.tuning.steps,
            qatLearningRate: options.tuning.steps > 0 ? Self.decimal(options.tuning.learningRate) : nil,
            qatScaleLearningRate: options.tuning.steps > 0
                ? Self.decimal(options.tuning.scaleLearningRate) : nil,
            qatTimestepsPerImage: options.tuning.steps > 0 ? options.timestepsPerImage : nil,
            timesteps: timesteps)
    }

    /// Converted through text, so that 7.3 is written as 7.3 and not with the digits of the nearest Float.
    private static func decimal(_ value: Float) -> Double { Double("\(value)") ?? Double(value) }

    /// The timesteps at which predictions are compared, image by image; empty where only images are compared.
    private var timesteps: [Int] {
        guard !options.measures.isDisjoint(with: [.noise, .fisher]) else { return [] }
        return PredictionInputs.drawnTimesteps(
            calibration, timestepsPerImage: options.timestepsPerImage, stream: .measuring,
            schedule: schedule
        ).flatMap { $0 }
    }

    // MARK: Candidates

    /// The layers of this run in the order of the forward pass, so that the stages before a layer are computed once for
    /// all layers that follow.
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
        let shardLayers = ordered.enumerated().filter { shard.contains($0.offset) }.map(\.element)
        guard !shardLayers.isEmpty else { throw .emptyShard(shard, layers: ordered.count) }
        return shardLayers
    }

    private func bits(of layer: any WeightedLayer) -> [BitWidth] { Self.bits(of: layer, policy, options) }

    private static func bits(
        of layer: any WeightedLayer, _ policy: any LayerPolicy, _ options: SensitivityOptions
    ) -> [BitWidth] {
        policy.role(ofLayer: layer.path) == .firstOrLast ? [.firstAndLast] : options.bits
    }

    // MARK: Measuring

    private struct Interruption: Error {}

    /// The settings that must be the same in all processes, as JSON.
    ///
    /// - Throws: `EncodingError` for numbers that JSON cannot represent.
    public func identityText() throws -> String {
        String(decoding: try JSONEncoder.compact.encode(header), as: UTF8.self)
    }

    private var header: SensitivityJournalHeader {
        SensitivityJournalHeader(
            generation: generation, bits: options.bits, layerPattern: options.layerPattern,
            shard: options.shard, manifest: manifest)
    }

    private func measure(
        into records: inout [SensitivityCandidate: SensitivityRecord], _ journal: SensitivityJournal?,
        _ communicator: any Communicator, _ progress: (SensitivityProgress) -> Void,
        interruption: @escaping () throws -> Void
    ) throws {
        let known = records.count
        func report(_ latest: SensitivityCandidate?, _ seconds: Double?) {
            progress(
                SensitivityProgress(
                    done: records.count, total: candidates.count, secondsPerCandidate: seconds, latest: latest
                ))
        }
        report(nil, nil)
        let missing = candidates.indices.filter { records[candidates[$0]] == nil }
        // What is measured already is known to the first process.
        guard try communicator.any(communicator.isFirst && !missing.isEmpty) else { return }
        try withFrozenModel {
            let evaluator = try CandidateEvaluator(
                pipeline: pipeline, calibration: calibration, captionScore: captionScore, options: options,
                interruption: interruption)
            let predicted = try evaluator.predictedError(
                of: layers, bits: { self.bits(of: $0) }, communicator: communicator, interruption)
            let byPath = Dictionary(uniqueKeysWithValues: layers.map { (LayerID($0.path), $0) })
            let clock = ContinuousClock()
            let start = clock.now
            try communicator.distribute(missing) { index in
                let candidate = candidates[index]
                guard let layer = byPath[candidate.path] else { return [] }
                let measure = try evaluator.measure(layer, at: candidate.bits, interruption)
                return Array(try JSONEncoder.compact.encode(SensitivityRecord(candidate, measure)))
            } collect: { index, bytes in
                let candidate = candidates[index]
                var measure = try JSONDecoder().decode(SensitivityRecord.self, from: Data(bytes)).measure
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

    /// The expected time and memory of the analysis, from the reference passes and a sample of candidates.
    ///
    /// - Parameter shouldStop: as in `run`.
    /// - Returns: nil when stopped.
    /// - Throws: what measuring throws.
    public func forecast(shouldStop: @escaping () -> Bool = { false }) throws -> SweepForecast? {
        do {
            return try withFrozenModel {
                try SweepForecast(
                    of: candidates, layers: layers, pipeline: pipeline, calibration: calibration,
                    captionScore: captionScore, options: options
                ) { if shouldStop() { throw Interruption() } }
            }
        } catch is Interruption {
            return nil
        }
    }

    /// Runs `body` while no parameter of the model is trainable.
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
            var scores: [BitWidth: SensitivityScores] = [:]
            for bits in bits(of: layer) {
                scores[bits] = records[SensitivityCandidate(path: path, bits: bits)]?.measure
            }
            let weight = withoutGradients { layer.weight.tensor() }
            return LayerSensitivity(
                path: path, kind: shape.kind, role: shape.role, group: shape.group, weights: shape.weights,
                skewness: skewness(of: weight), bits: scores,
                rates: shape.role == .searched ? CodeRate.curve(of: weight) : [])
        }
        var table = SensitivityTable(
            layers: rows.sorted { $0.path < $1.path }, model: model, inventory: inventory,
            generation: generation, manifest: manifest)
        table.correlations = table.measuredCorrelations()
        return table
    }
}

extension DiffusionPipeline {
    /// Checks before files are read that the model can be analyzed.
    ///
    /// - Parameter hasSamples: whether the analysis has samples of a data set, with condition channels.
    /// - Throws: `SensitivityError`: `.notStaged` where it cannot be run stage by stage, `.conditionChannels` where its
    ///   images cannot be sampled from prompts alone, `.predictedChannels` where it predicts more than the noise.
    public func checkCanBeAnalyzed(hasSamples: Bool = false) throws(SensitivityError) {
        _ = try stagedDenoiser(hasSamples: hasSamples)
    }

    /// The denoiser, for analyses that run it stage by stage.
    ///
    /// - Throws: as `checkCanBeAnalyzed(hasSamples:)`.
    func stagedDenoiser(hasSamples: Bool = false) throws(SensitivityError) -> any StagedDenoiser {
        guard let staged = denoiser as? any StagedDenoiser else {
            throw .notStaged(architecture: denoiser.config.architecture)
        }
        let config = staged.config
        let condition = hasSamples ? config.conditionChannels : 0
        guard config.inChannels - condition == config.outChannels else {
            throw config.conditionChannels > 0
                ? .conditionChannels(inChannels: config.inChannels, outChannels: config.outChannels)
                : .predictedChannels(inChannels: config.inChannels, outChannels: config.outChannels)
        }
        return staged
    }
}

extension PromptEmbeddings {
    /// The conditions of the prompts and of the negative prompts.
    fileprivate var parts: [(states: Tensor, added: AddedConditions?)] {
        [(conditional, added?.conditional), (unconditional, added?.unconditional)]
    }
}

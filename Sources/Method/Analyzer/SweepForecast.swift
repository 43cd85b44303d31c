// SPDX-License-Identifier: Apache-2.0
// What an analysis will cost, before it is begun: a few candidates are measured, and a model of their time with two
// unknowns is fitted to them.

import Layers
import Networks
import Pipelines
import Recipes
import Tensors

/// The expected cost of an analysis.
public struct SweepForecast: Sendable {
    /// Candidates in all.
    public let candidates: Int
    /// Seconds for all of them, and before the first one.
    public let seconds: Double
    public let secondsBefore: Double
    /// The most memory that tensors took while the sample was measured, in bytes: what the analysis takes, but for what a
    /// stage between those of the sample may keep beyond them.
    public let peakBytes: Int
    /// Bytes of it that hold activations to be used again.
    public let stateBytes: Int
    /// Candidates that were measured to find out.
    public let sampled: Int

    /// Seconds of each candidate in the sample, and what the model says of them.
    public let sample: [(candidate: SensitivityCandidate, seconds: Double, expected: Double)]

    /// Layers in the sample, from the first to the last.
    private static let sampledLayers = 12

    /// A candidate's time is a · (what its passes and images took the full-precision model) + b · (its weights): a and b,
    /// >= 0, by least squares. A training step counts as three predictions from the layer on.
    init(
        of candidates: [SensitivityCandidate], layers: [any WeightedLayer], pipeline: DiffusionPipeline,
        subjects: CalibrationSet, captionScore: CaptionScore?, options: SensitivityOptions,
        interruption: @escaping () throws -> Void
    ) throws {
        let clock = ContinuousClock()
        let start = clock.now
        let bench = try CandidateEvaluator(
            pipeline: pipeline, subjects: subjects, captionScore: captionScore, options: options,
            interruption: interruption)
        let making = (clock.now - start) / .seconds(1)
        let byPath = Dictionary(uniqueKeysWithValues: layers.map { (LayerID($0.path), $0) })
        let widths = Dictionary(grouping: candidates, by: \.path).mapValues { $0.map(\.width) }
        secondsBefore =
            making
            + (try Self.scoringSeconds(
                bench, of: layers, widths: { widths[LayerID($0.path)] ?? [] }, interruption))
        let count = min(Self.sampledLayers, candidates.count)
        let chosen = (0..<count).map { candidates[(2 * $0 + 1) * candidates.count / (2 * count)] }
        let weights = byPath.mapValues { Double($0.weight.shape.reduce(1, *)) }
        func terms(_ candidate: SensitivityCandidate) -> (Double, Double) {
            (
                Self.passSeconds(bench, stage: bench.denoiser.stage(ofLayer: candidate.path.rawValue)),
                weights[candidate.path] ?? 0
            )
        }
        func measure(_ candidate: SensitivityCandidate) throws -> Double {
            guard let layer = byPath[candidate.path] else { return 0 }
            // Moving on to a stage is paid for once for all its candidates.
            bench.move(to: layer)
            let start = clock.now
            _ = try bench.measure(layer, at: candidate.width, interruption)
            return (clock.now - start) / .seconds(1)
        }
        // Untimed: the first measurements take fresh memory from the system. The first layer has most of the model behind
        // it, and the largest one most weights: together they show what the analysis takes at most.
        let largest = candidates.max { (weights[$0.path] ?? 0) < (weights[$1.path] ?? 0) }
        for candidate in [candidates.first, largest].compactMap({ $0 }) { _ = try measure(candidate) }
        let times = try chosen.map(measure)
        let fit = Self.fit(chosen.map(terms), times)
        func expected(_ candidate: SensitivityCandidate) -> Double {
            let (passes, weights) = terms(candidate)
            return fit.0 * passes + fit.1 * weights
        }
        seconds =
            candidates.reduce(0) { $0 + expected($1) }
            + bench.movingPasses.reduce(0) {
                $0 + $1.secondsToEnd(from: 0)
            }
        sample = zip(chosen, times).map { ($0, $1, expected($0)) }
        sampled = chosen.count
        self.candidates = candidates.count
        peakBytes = BlockPool.shared.peakLiveBytes
        stateBytes = bench.movingPasses.reduce(0) { $0 + $1.stateBytes }
    }

    /// What the passes and images of one candidate took the full-precision model, in seconds.
    private static func passSeconds(_ bench: CandidateEvaluator, stage: Int?) -> Double {
        var seconds = bench.comparison == nil ? 0 : bench.imageSeconds
        if bench.options.measures.contains(.noise), let passes = bench.noise?.passes {
            seconds += passes.secondsToEnd(from: stage)
        }
        if let tuning = bench.tuning {
            let step = 3 * tuning.passes.secondsToEnd(from: stage) / Double(tuning.passes.inputs.count)
            seconds += step * Double(tuning.options.steps)
        }
        return seconds
    }

    /// What predicting all sensitivities will take, from two of its passes; 0 where nobody asks for it.
    private static func scoringSeconds(
        _ bench: CandidateEvaluator, of layers: [any WeightedLayer], widths: (any WeightedLayer) -> [BitWidth],
        _ interruption: () throws -> Void
    ) throws -> Double {
        let clock = ContinuousClock()
        var starts: [ContinuousClock.Instant] = []
        let start = clock.now
        guard
            let passes = try bench.predictedError(
                of: layers, widths: widths, passLimit: 2,
                {
                    starts.append(clock.now)
                    try interruption()
                }
            ).map({ _ in bench.scoringPasses }), let first = starts.first, let last = starts.last
        else { return 0 }
        let (preparing, pass) = ((first - start) / .seconds(1), (clock.now - last) / .seconds(1))
        return preparing + Double(passes) * pass
    }

    /// a, b >= 0 that minimise Σ ((a x + b y - t) / t)²: relative errors, so that cheap candidates count too.
    static func fit(_ terms: [(Double, Double)], _ times: [Double]) -> (Double, Double) {
        var (xx, xy, yy, x, y) = (0.0, 0.0, 0.0, 0.0, 0.0)
        for ((p, q), time) in zip(terms, times) where time > 0 {
            let (p, q) = (p / time, q / time)
            xx += p * p
            xy += p * q
            yy += q * q
            x += p
            y += q
        }
        let determinant = xx * yy - xy * xy
        if determinant > 1e-12 * xx * yy {
            let (a, b) = ((x * yy - y * xy) / determinant, (y * xx - x * xy) / determinant)
            if a >= 0, b >= 0 { return (a, b) }
        }
        // One term alone, the better one: the larger drop of the squared error.
        let (onlyX, onlyY) = (xx > 0 ? x * x / xx : 0, yy > 0 ? y * y / yy : 0)
        return onlyX >= onlyY ? (xx > 0 ? x / xx : 0, 0) : (0, yy > 0 ? y / yy : 0)
    }
}

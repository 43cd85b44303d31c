// SPDX-License-Identifier: Apache-2.0
// The expected cost of an analysis: a sample of candidates is measured, and a model of their time with two coefficients
// is fitted to it.

import Layers
import Networks
import Pipelines
import Recipes
import Tensors

/// The expected cost of an analysis.
public struct SweepForecast: Sendable {
    /// The number of candidates.
    public let candidates: Int
    /// The time of all candidates, and the time before the first one, in seconds.
    public let seconds: Double
    public let secondsBefore: Double
    /// The peak memory of tensors while the sample was measured, in bytes. States of stages between those of the sample
    /// may be larger.
    public let peakBytes: Int
    /// The memory of kept activations, in bytes.
    public let stateBytes: Int
    /// The number of candidates in the sample.
    public let sampled: Int

    /// The measured and the modeled time of each candidate in the sample, in seconds.
    public let sample: [(candidate: SensitivityCandidate, seconds: Double, expected: Double)]

    /// The number of layers in the sample, spread over the model.
    private static let sampledLayers = 12

    /// A candidate's time is modeled as a · (the full-precision model's time for its passes and images) + b · (its
    /// weights), with a, b >= 0 by least squares. A training step counts as three predictions from the layer on.
    init(
        of candidates: [SensitivityCandidate], layers: [any WeightedLayer], pipeline: DiffusionPipeline,
        calibration: CalibrationSet, captionScore: CaptionScore?, options: SensitivityOptions,
        interruption: @escaping () throws -> Void
    ) throws {
        let clock = ContinuousClock()
        let start = clock.now
        let evaluator = try CandidateEvaluator(
            pipeline: pipeline, calibration: calibration, captionScore: captionScore, options: options,
            interruption: interruption)
        let making = (clock.now - start) / .seconds(1)
        let byPath = Dictionary(uniqueKeysWithValues: layers.map { (LayerID($0.path), $0) })
        let bits = Dictionary(grouping: candidates, by: \.path).mapValues { $0.map(\.bits) }
        secondsBefore =
            making
            + (try Self.scoringSeconds(
                evaluator, of: layers, bits: { bits[LayerID($0.path)] ?? [] }, interruption))
        let count = min(Self.sampledLayers, candidates.count)
        let chosen = (0..<count).map { candidates[(2 * $0 + 1) * candidates.count / (2 * count)] }
        let weights = byPath.mapValues { Double($0.weight.shape.reduce(1, *)) }
        func terms(_ candidate: SensitivityCandidate) -> (Double, Double) {
            (
                Self.passSeconds(evaluator, stage: evaluator.denoiser.stage(ofLayer: candidate.path.rawValue)),
                weights[candidate.path] ?? 0
            )
        }
        func measure(_ candidate: SensitivityCandidate) throws -> Double {
            guard let layer = byPath[candidate.path] else { return 0 }
            // Computing the stages before the layer is not timed: it is done once for all candidates of a stage.
            evaluator.move(to: layer)
            let start = clock.now
            _ = try evaluator.measure(layer, at: candidate.bits, interruption)
            return (clock.now - start) / .seconds(1)
        }
        // Not timed: the first measurements allocate memory. The first layer has the most stages to compute and the
        // largest one the most weights, so that both show the peak memory.
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
            + evaluator.movingPasses.reduce(0) {
                $0 + $1.secondsToEnd(from: 0)
            }
        sample = zip(chosen, times).map { ($0, $1, expected($0)) }
        sampled = chosen.count
        self.candidates = candidates.count
        peakBytes = BlockPool.shared.peakLiveBytes
        stateBytes = evaluator.movingPasses.reduce(0) { $0 + $1.stateBytes }
    }

    /// The full-precision model's time for the passes and images of one candidate, in seconds.
    private static func passSeconds(_ evaluator: CandidateEvaluator, stage: Int?) -> Double {
        var seconds = evaluator.imageSensitivity == nil ? 0 : evaluator.imageSeconds
        if evaluator.options.measures.contains(.noise), let passes = evaluator.noise?.passes {
            seconds += passes.secondsToEnd(from: stage)
        }
        if let tuning = evaluator.tuning {
            let step = 3 * tuning.passes.secondsToEnd(from: stage) / Double(tuning.passes.inputs.count)
            seconds += step * Double(tuning.options.steps)
        }
        return seconds
    }

    /// The time of predicting all sensitivities, from two of its passes; 0 where they are not measured.
    private static func scoringSeconds(
        _ evaluator: CandidateEvaluator, of layers: [any WeightedLayer], bits: (any WeightedLayer) -> [BitWidth],
        _ interruption: () throws -> Void
    ) throws -> Double {
        let clock = ContinuousClock()
        var starts: [ContinuousClock.Instant] = []
        let start = clock.now
        guard
            let passes = try evaluator.predictedError(
                of: layers, bits: bits, passLimit: 2,
                {
                    starts.append(clock.now)
                    try interruption()
                }
            ).map({ _ in evaluator.scoringPasses }), let first = starts.first, let last = starts.last
        else { return 0 }
        let (preparing, pass) = ((first - start) / .seconds(1), (clock.now - last) / .seconds(1))
        return preparing + Double(passes) * pass
    }

    /// a, b >= 0 that minimize Σ ((a x + b y - t) / t)²: relative errors, so that fast candidates count as much.
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
        // A single term, the one with the larger decrease of the squared error.
        let (onlyX, onlyY) = (xx > 0 ? x * x / xx : 0, yy > 0 ? y * y / yy : 0)
        return onlyX >= onlyY ? (xx > 0 ? x / xx : 0, 0) : (0, yy > 0 ? y / yy : 0)
    }
}

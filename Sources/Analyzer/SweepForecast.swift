// SPDX-License-Identifier: Apache-2.0
// What an analysis will cost, before it is begun: a few candidates are measured, and a model of their time with two
// unknowns is fitted to them.

import Diffusion
import Layers
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
    /// The most memory that tensors took while the sample was measured, in bytes; the analysis takes no more.
    public let peakBytes: Int
    /// Bytes of it that hold activations to be used again.
    public let stateBytes: Int
    /// Candidates that were measured to find out.
    public let sampled: Int

    /// Seconds of each candidate in the sample, and what the model says of them.
    public let sample: [(candidate: SensitivityCandidate, seconds: Double, expected: Double)]

    /// Layers in the sample, from the first to the last.
    private static let sampledLayers = 12

    /// A candidate's time is a · (time from its stage to the end) + b · (its weights) where predictions or training count,
    /// and a constant + b · (its weights) where only pictures do: a and b, >= 0, by least squares.
    init(
        of candidates: [SensitivityCandidate], layers: [any WeightedLayer], pipeline: DiffusionPipeline,
        subjects: AnalysisSubjects, captionScore: CaptionScore?, options: SensitivityOptions,
        interruption: @escaping () throws -> Void
    ) throws {
        let clock = ContinuousClock()
        let start = clock.now
        let bench = try CandidateBench(
            pipeline: pipeline, subjects: subjects, captionScore: captionScore, options: options,
            interruption: interruption)
        let byPath = Dictionary(uniqueKeysWithValues: layers.map { (LayerID($0.path), $0) })
        _ = try bench.predictedDamage(
            of: layers,
            widths: { layer in candidates.filter { $0.path == LayerID(layer.path) }.map(\.width) },
            interruption)
        secondsBefore = (clock.now - start) / .seconds(1)
        let passes = bench.tuning?.passes ?? bench.noise?.passes
        func terms(_ candidate: SensitivityCandidate) -> (Double, Double) {
            let layer = byPath[candidate.path]
            let toEnd = passes.map {
                $0.secondsToEnd(from: pipeline.unet.stage(ofLayer: candidate.path.rawValue))
            }
            return (
                bench.comparison == nil ? toEnd ?? 0 : (toEnd ?? 0) * Double(options.tuning.steps + 1) + 1,
                Double(layer?.weight.shape.reduce(1, *) ?? 0)
            )
        }
        let count = min(Self.sampledLayers, candidates.count)
        let chosen = (0..<count).map { candidates[(2 * $0 + 1) * candidates.count / (2 * count)] }
        // Untimed: the first candidate also takes fresh memory from the system, and the largest layer takes most.
        let largest = chosen.max { terms($0).1 < terms($1).1 }
        var times: [Double] = []
        for candidate in (largest.map { [$0] } ?? []) + chosen {
            guard let layer = byPath[candidate.path] else { continue }
            // Moving on to a stage is paid for once for all its candidates.
            bench.noise?.passes.move(to: pipeline.unet.stage(ofLayer: layer.path) ?? 0)
            let start = clock.now
            _ = try bench.measure(layer, at: candidate.width, interruption)
            times.append((clock.now - start) / .seconds(1))
        }
        times.removeFirst(min(1, times.count))
        let fit = Self.fit(chosen.map(terms), times)
        func expected(_ candidate: SensitivityCandidate) -> Double {
            let (toEnd, weights) = terms(candidate)
            return fit.0 * toEnd + fit.1 * weights
        }
        let moving = passes?.secondsToEnd(from: 0) ?? 0
        seconds = candidates.reduce(0) { $0 + expected($1) } + moving
        sample = zip(chosen, times).map { ($0, $1, expected($0)) }
        sampled = chosen.count
        self.candidates = candidates.count
        peakBytes = BlockPool.shared.peakLiveBytes
        stateBytes = (bench.noise?.passes.stateBytes ?? 0) + (bench.tuning?.passes.stateBytes ?? 0)
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

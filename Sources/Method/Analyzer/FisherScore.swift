// SPDX-License-Identifier: Apache-2.0
// The noise sensitivity of every candidate predicted from gradients alone. To first order the prediction moves by J δ, with J
// its derivative by the weights and δ = Q(w) - w, so that the sensitivity is δᵀ G δ with the Gauss-Newton matrix
// G = Jᵀ W J. For random signs v, gᵀ δ with g = Jᵀ W^½ v has the mean square δᵀ G δ (Hutchinson's estimator). One backward
// pass gives g for all layers; every width of a layer costs one look at it.

import Evaluation
import Layers
import Networks
import Quantization
import Recipes
import Schedulers
import Tensors

/// Predicts the sensitivity of candidates that `NoisePredictionSensitivity` measures.
struct FisherScore {
    let passes: StagedPredictions
    let schedule: NoiseSchedule
    /// Backward passes for each part of the inputs.
    var probes = 4

    /// Backward passes in all.
    var passCount: Int { passes.inputs.count * probes }

    /// - Parameters:
    ///   - layers: those to score. All quantizable layers are in full precision, everything else in the model is frozen.
    ///   - widths: those of a layer.
    ///   - passLimit: backward passes at most; fewer than there are leave the sums incomplete.
    ///   - interruption: called before every pass; what it throws ends the work.
    /// - Returns: Σ_r E[(g_r · δ_r)²] over the output channels r: G without the blocks that couple two of them, which one
    ///   sample of random signs cannot tell from noise.
    func scores(
        of layers: [any WeightedLayer], widths: (any WeightedLayer) -> [BitWidth], passLimit: Int = .max,
        interruption: () throws -> Void
    ) rethrows -> [SensitivityCandidate: Double] {
        // Leaves of all layers, whichever are scored: a weight with a gradient may be convolved by another algorithm than a
        // frozen one, and parts of an analysis shall have the very numbers of the whole.
        let all = passes.denoiser.quantizedLayers
        let originals = all.map(\.weight)
        let leaves = all.map { layer in
            Parameter(layer.path + ".weight", withoutGradients { layer.weight.tensor() })
        }
        for (layer, leaf) in zip(all, leaves) { layer.weight = leaf }
        defer {
            for (layer, original) in zip(all, originals) { layer.weight = original }
        }
        let scored = Set(layers.map(\.path))
        let candidates = zip(all, leaves).filter { scored.contains($0.0.path) }.flatMap { layer, leaf in
            widths(layer).map { width -> Candidate in
                let grid = BalancedGrid(width)
                return Candidate(
                    name: SensitivityCandidate(path: LayerID(layer.path), width: width), leaf: leaf,
                    grid: grid,
                    scales: ScaleInitialization.paper.scales(of: leaf.value, grid: grid))
            }
        }
        var sums = [Double](repeating: 0, count: candidates.count)
        let samples = passes.inputs.reduce(0) { $0 + $1.timesteps.count }
        var done = 0
        for index in passes.inputs.indices {
            for probe in 0..<probes where done < passLimit {
                done += 1
                try interruption()
                backward(index, probe: probe, samples: samples)
                for (place, candidate) in candidates.enumerated() {
                    sums[place] += candidate.squaredProducts() / Double(probes)
                }
                for leaf in leaves { leaf.gradient = nil }
            }
        }
        return Dictionary(uniqueKeysWithValues: zip(candidates.map(\.name), sums))
    }

    private struct Candidate {
        let name: SensitivityCandidate
        let leaf: Parameter
        let grid: BalancedGrid
        let scales: Tensor

        func squaredProducts() -> Double {
            guard let gradient = leaf.gradient else { return 0 }
            return quantizationErrorProducts(gradient, weight: leaf.value, scales: scales, grid: grid)
                .reduce(0) { $0 + $1 * $1 }
        }
    }

    /// Leaves g = Jᵀ W^½ v of one part in the layers' parameters: the weight of a sample's error in the mean sensitivity goes
    /// into its signs.
    private func backward(_ index: Int, probe: Int, samples: Int) {
        let part = passes.inputs[index]
        let prediction = passes.prediction(index, from: nil)
        var random = Philox(seed: UInt64(index), stream: 0xF15 &+ UInt64(probe))
        let uniform = random.uniform(prediction.shape)
        let perSample = prediction.count / max(part.timesteps.count, 1)
        let signs = Tensor(unsafeUninitialized: prediction.shape)
        // What an error of 1 everywhere counts in the sensitivity.
        let weights = predictedSampleErrors(
            .ones(prediction.shape), reference: .zeros(prediction.shape), timesteps: part.timesteps,
            schedule: schedule)
        signs.withUnsafeMutableBufferPointer { signs in
            uniform.withUnsafeBufferPointer { uniform in
                for place in signs.indices {
                    let weight = weights[place / perSample] / Double(perSample * samples)
                    signs[place] = Float(weight.squareRoot()) * (uniform[place] < 0.5 ? -1 : 1)
                }
            }
        }
        prediction.backward(signs)
    }
}

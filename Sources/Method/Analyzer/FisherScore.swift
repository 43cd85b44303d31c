// SPDX-License-Identifier: Apache-2.0
// The noise sensitivity of every candidate, predicted from gradients alone. To first order the prediction changes by J
// δ, with J its derivative by the weights and δ = Q(w) - w, so that the sensitivity is δᵀ G δ with the Gauss-Newton
// matrix G = Jᵀ W J. For random signs v, gᵀ δ with g = Jᵀ W^½ v has the mean square δᵀ G δ (Hutchinson's estimator).
// One backward pass gives g for all layers and serves all bit widths.

import Communication
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

    /// The number of backward passes.
    var passCount: Int { passes.inputs.count * probes }

    /// - Parameters:
    ///   - layers: the layers to score. All quantized layers are in full precision, the other parameters are frozen.
    ///   - bits: the nominal bits to score a layer at.
    ///   - passLimit: the largest number of backward passes; below `passCount` the sums are incomplete.
    ///   - communicator: the processes that share the passes.
    ///   - interruption: called before every pass; it may throw to end the work.
    /// - Returns: Σ_r E[(g_r · δ_r)²] over the output channels r. The blocks of G that couple two channels are left
    ///   out: one sample of random signs cannot distinguish them from noise. Zeros in all processes but the first.
    /// - Throws: what `interruption` throws; `PeerFailure`.
    func scores(
        of layers: [any WeightedLayer], bits: (any WeightedLayer) -> [BitWidth], passLimit: Int = .max,
        communicator: any Communicator = SingleProcess(), interruption: () throws -> Void
    ) throws -> [SensitivityCandidate: Double] {
        // All layers get leaves, whichever are scored: a weight with a gradient may be convolved by another algorithm
        // than a frozen one, and the parts of an analysis must give the same bits as the whole.
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
            bits(layer).map { bits -> Candidate in
                let grid = QuantizationGrid(bits)
                return Candidate(
                    name: SensitivityCandidate(path: LayerID(layer.path), bits: bits), leaf: leaf,
                    grid: grid,
                    scales: ScaleInitialization.paper.scales(of: leaf.value, grid: grid))
            }
        }
        let samples = passes.inputs.reduce(0) { $0 + $1.timesteps.count }
        // The terms of each pass are added in the order of the passes, whichever process is faster.
        var terms = [[Double]](repeating: [], count: min(passCount, passLimit))
        try communicator.distribute(Array(terms.indices)) { pass in
            try interruption()
            backward(pass / probes, probe: pass % probes, samples: samples)
            let found = candidates.map { $0.squaredProducts() / Double(probes) }
            for leaf in leaves { leaf.gradient = nil }
            return found.withUnsafeBytes(Array.init)
        } collect: { pass, bytes in
            terms[pass] = bytes.withUnsafeBytes { Array($0.bindMemory(to: Double.self)) }
        }
        var sums = [Double](repeating: 0, count: candidates.count)
        for ofPass in terms { for (index, term) in ofPass.enumerated() { sums[index] += term } }
        return Dictionary(uniqueKeysWithValues: zip(candidates.map(\.name), sums))
    }

    private struct Candidate {
        let name: SensitivityCandidate
        let leaf: Parameter
        let grid: QuantizationGrid
        let scales: Tensor

        func squaredProducts() -> Double {
            guard let gradient = leaf.gradient else { return 0 }
            return quantizationErrorProducts(gradient, weight: leaf.value, scales: scales, grid: grid)
                .reduce(0) { $0 + $1 * $1 }
        }
    }

    /// Computes g = Jᵀ W^½ v of one part as the gradient of the layers' weights. The signs are scaled by the weight of
    /// a sample's error in the mean sensitivity.
    private func backward(_ index: Int, probe: Int, samples: Int) {
        let part = passes.inputs[index]
        let prediction = passes.prediction(index, from: nil)
        var random = Philox(seed: UInt64(index), stream: AnalysisStream.signs(probe: probe))
        let uniform = random.uniform(prediction.shape)
        let perSample = prediction.count / max(part.timesteps.count, 1)
        let signs = Tensor(unsafeUninitialized: prediction.shape)
        // The sensitivity of an error of 1 in every value.
        let weights = predictedSampleErrors(
            .ones(prediction.shape), reference: .zeros(prediction.shape), timesteps: part.timesteps,
            schedule: schedule)
        signs.withUnsafeMutableBufferPointer { signs in
            uniform.withUnsafeBufferPointer { uniform in
                for index in signs.indices {
                    let weight = weights[index / perSample] / Double(perSample * samples)
                    signs[index] = Float(weight.squareRoot()) * (uniform[index] < 0.5 ? -1 : 1)
                }
            }
        }
        prediction.backward(signs)
    }
}

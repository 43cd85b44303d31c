// SPDX-License-Identifier: Apache-2.0
// `allocate --verify-top`: recipes tried on the whole model, and the best one kept.

import BitsFusion
import Foundation

/// Tries the recipes of one table on its model.
struct RecipeVerification {
    private let bench: RecipeEvaluator
    private let common: CommonOptions

    /// Opens the model and makes the full-precision images.
    ///
    /// - Throws: `CommandError` where the table does not tell its model or how it was made, or the model is another one;
    ///   what opening and sampling throw.
    init(table: SensitivityTable, sensitivity: String, model: ModelReference?, common: CommonOptions) throws {
        guard let generation = table.generation else {
            throw CommandError(
                .badData,
                "\(sensitivity): does not say how it was made; analyze the model again, or leave out --verify-top"
            )
        }
        guard let reference = model ?? table.model.map({ ModelReference($0.path) }) else {
            throw CommandError(.usage, "\(sensitivity): names no model; give one with --model")
        }
        if let named = table.model, try reference.fileReference().sha256 != named.sha256 {
            throw CommandError(
                .badData,
                "\(reference.name): is not the model that \(sensitivity) is of (SHA-256 \(named.sha256.prefix(12))…); "
                    + "give that one with --model")
        }
        InterruptFlag.install()
        let pipeline = try reference.open()
        pipeline.freeze()
        self.common = common
        do {
            bench = try RecipeEvaluator(
                pipeline: pipeline, generation: generation,
                batchSize: pipeline.isLarge ? 1 : GenerationOptions().batchSize,
                interruption: InterruptFlag.check)
        } catch let error as any CategorizedError where !(error is Interrupted) {
            // Whatever does not fit was read from the table.
            throw CommandError(.badData, "\(sensitivity): \(error)")
        }
    }

    /// Measures all of `allocations` and returns the one of the least sensitivity: error of the noise prediction where widths
    /// were chosen by that, else of the images. With a PSNR to keep it is the smallest that keeps it, where one does. It
    /// carries what was measured of all of them.
    func best(
        of allocations: [BitAllocation], by metric: AllocationMetric, minimumPSNR: Double?
    ) throws -> BitAllocation {
        let measured: SensitivityMetric = [.noise, .fisher].contains(metric) ? .noise : .mse
        let progress = common.progress("verifying", total: allocations.count, unit: "recipes")
        var verified: [VerifiedRecipe] = []
        for allocation in allocations {
            let measured = try bench.measure(allocation.recipe, interruption: InterruptFlag.check)
            verified.append(
                VerifiedRecipe(
                    method: allocation.recipe.method ?? "", metric: allocation.metric.rawValue,
                    averageBits: allocation.averageBits, predictedError: allocation.predictedError,
                    measured: measured ?? SensitivityScores()))
            progress.update(verified.count)
        }
        progress.endLine()
        if !common.quiet, minimumPSNR == nil {
            Output.toStandardError("keeping the recipe of the least measured \(measured.rawValue)\n")
        }
        let usable = verified.indices.filter { verified[$0].measured[measured] != nil }
        guard
            let best = usable.min(by: {
                (verified[$0].measured[measured] ?? .infinity) < (verified[$1].measured[measured] ?? .infinity)
            })
        else {
            throw CommandError(
                .badData, "no recipe leaves a model whose images are finite; raise the budget")
        }
        let keeping = minimumPSNR.map { least in
            usable.filter { (verified[$0].measured.psnr ?? .infinity) >= least }
        }
        let smallest = keeping?.min { verified[$0].averageBits < verified[$1].averageBits }
        let kept = smallest ?? best
        if let minimumPSNR, smallest == nil {
            let reached = Numbers.fixed(verified[best].measured.psnr ?? 0, 2)
            Output.warning(
                "\(Numbers.fixed(minimumPSNR, 2)) dB were asked for; measured, the best recipe keeps \(reached): errors of "
                    + "single layers do not quite add up; ask for more")
        }
        verified[kept].isKept = true
        var allocation = allocations[kept]
        allocation.recipe.verified = verified
        return allocation
    }
}

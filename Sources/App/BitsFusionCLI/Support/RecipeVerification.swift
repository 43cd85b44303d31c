// SPDX-License-Identifier: Apache-2.0
// `allocate --verify-top`: measures recipes on the whole model and keeps the best one.

import BitsFusion
import Foundation

/// Measures the recipes of one table on its model.
struct RecipeVerification {
    private let evaluator: RecipeEvaluator
    private let common: CommonOptions

    /// Opens the model and samples the full-precision images.
    ///
    /// - Throws: `CommandError` if the table lacks its settings or its model, or belongs to another model; what
    ///   opening and sampling throw.
    init(table: SensitivityTable, sensitivity: String, model: ModelReference?, common: CommonOptions) throws {
        guard let generation = table.generation else {
            throw CommandError(
                .badData,
                "\(sensitivity): generation: missing, but required by --verify-top; analyze the model again"
            )
        }
        guard let reference = model ?? table.model.map({ ModelReference($0.path) }) else {
            throw CommandError(.usage, "\(sensitivity): model: missing; pass --model")
        }
        if let named = table.model, try reference.fileReference().sha256 != named.sha256 {
            throw CommandError(
                .badData,
                "\(reference.name): is not the model of \(sensitivity): expected SHA-256 "
                    + "\(named.sha256.prefix(12))...; pass that model with --model")
        }
        let pipeline = try reference.open()
        pipeline.freeze()
        self.common = common
        do {
            evaluator = try RecipeEvaluator(
                pipeline: pipeline, generation: generation,
                batchSize: pipeline.isLarge ? 1 : GenerationOptions().batchSize,
                interruption: InterruptFlag.check)
        } catch let error as any CategorizedError where !(error is Interrupted) {
            // All settings come from the table.
            throw CommandError(.badData, "\(sensitivity): \(error)")
        }
    }

    /// Measures all of `allocations` and returns the one with the smallest error: of the noise prediction if bits were
    /// chosen by it, else of the images. With a minimum PSNR it is the smallest recipe that reaches it, if one does.
    /// Its recipe lists the scores of all of them.
    func best(
        of allocations: [BitAllocation], by metric: AllocationMetric, minimumPSNR: Double?
    ) throws -> BitAllocation {
        let measured: SensitivityMetric = [.noise, .fisher].contains(metric) ? .noise : .mse
        let progress = common.progress("verifying", total: allocations.count, unit: "recipes")
        var verified: [VerifiedRecipe] = []
        for allocation in allocations {
            let measured = try evaluator.measure(allocation.recipe, interruption: InterruptFlag.check)
            verified.append(
                VerifiedRecipe(
                    method: allocation.recipe.method ?? "", metric: allocation.metric.rawValue,
                    averageBits: allocation.averageBits, predictedError: allocation.predictedError,
                    measured: measured ?? SensitivityScores()))
            progress.update(verified.count)
        }
        progress.endLine()
        if !common.quiet, minimumPSNR == nil {
            Output.toStandardError("keeping the recipe with the smallest measured \(measured.rawValue)\n")
        }
        let usable = verified.indices.filter { verified[$0].measured[measured] != nil }
        guard
            let best = usable.min(by: {
                (verified[$0].measured[measured] ?? .infinity) < (verified[$1].measured[measured] ?? .infinity)
            })
        else {
            throw CommandError(
                .badData, "no recipe gives finite images; raise the budget")
        }
        let candidates = minimumPSNR.map { minimum in
            usable.filter { (verified[$0].measured.psnr ?? .infinity) >= minimum }
        }
        let smallest = candidates?.min { verified[$0].averageBits < verified[$1].averageBits }
        let kept = smallest ?? best
        if let minimumPSNR, smallest == nil {
            let reached = Numbers.fixed(verified[best].measured.psnr ?? 0, 2)
            Output.warning(
                "--min-psnr: not reached: expected \(Numbers.fixed(minimumPSNR, 2)) dB, measured \(reached) dB; "
                    + "errors of single layers do not quite add up; raise --min-psnr")
        }
        verified[kept].isKept = true
        var allocation = allocations[kept]
        allocation.recipe.verified = verified
        return allocation
    }
}

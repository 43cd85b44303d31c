// SPDX-License-Identifier: Apache-2.0
// The table that `evaluate --prompts` prints and writes.

import BitsFusion
import Foundation

/// The scores of several models on the same prompts.
struct PromptScoreTable: Encodable {
    /// The CLIP score of the prompts of one category.
    struct Category: Encodable {
        let name: String
        let clipScore: MeanEstimate
    }

    /// The difference of the CLIP score from that of the first model, in pairs of images.
    struct Difference: Encodable {
        let clipScore: MeanEstimate
        /// The 95 % interval of the mean difference; nil for one image.
        let interval: [Double]?
        /// Two-sided, normal distribution; nil for one image.
        let pValue: Double?
        /// After Holm's correction for the number of compared models.
        let adjustedPValue: Double?
    }

    /// One model.
    struct Row: Encodable {
        let model: String
        /// max(mean, 0), as torchmetrics.
        let clipScore: Double
        let clipScoreStandardError: Double?
        /// Between the CLIP features of the images and those of the first model; nil for the first model, and for one
        /// image.
        let frechetDistance, cmmd: Double?
        /// Mean squared error to the images of the first model, pixels in 0...1; nil for the first model.
        let meanSquaredError: Double?
        /// In dB; nil for the first model and for identical images.
        let psnr: Double?
        /// Structural similarity; nil for the first model, and for images smaller than its window.
        let ssim: Double?
        /// Bits per weight of the denoiser's layers: the paper's formula for students and packed models, the element
        /// type's for dense ones.
        let averageBits: Double
        /// See `ModelSize`.
        let entropyBits: Double?
        let fileBytes: Int
        let secondsPerImage: Double
        /// In the order of their first prompt; prompts without a category are in none.
        let categories: [Category]
        /// nil for the first model.
        let difference: Difference?
        /// The CLIP score of each image.
        let imageScores: [Double]
    }

    let prompts: [String]
    let seed: UInt64
    let options: GenerationOptions
    let clip: String
    let rows: [Row]

    /// - Parameters:
    ///   - evaluation: what the models share.
    ///   - clip: the file of the CLIP model.
    ///   - results: the measurements of one model or more.
    /// - Throws: `ShippedModelError`.
    init(_ evaluation: PromptEvaluation, clip: String, results: [(model: ModelReference, measured: ImageMeasurements)])
        throws
    {
        prompts = evaluation.prompts.map(\.text)
        (seed, options, self.clip) = (evaluation.seed, evaluation.options, clip)
        let first = results[0].measured
        let differences = results.dropFirst().map { MeanEstimate(of: $0.measured.scores, minus: first.scores) }
        let adjusted = holmAdjusted(differences.compactMap(\.pValue))
        rows = try results.enumerated().map { index, result in
            let difference = index == 0 ? nil : differences[index - 1]
            return Row(
                result.model.name, try result.model.path(), result.measured, evaluation.prompts,
                features: index == 0 ? nil : first.features,
                difference: difference.map { difference in
                    Difference(
                        clipScore: difference,
                        interval: difference.confidenceInterval.map { [$0.lowerBound, $0.upperBound] },
                        pValue: difference.pValue,
                        adjustedPValue: difference.pValue == nil ? nil : adjusted[index - 1])
                })
        }
    }

    /// Prints the table, the scores by category, and the comparisons with the first model.
    func print() {
        var table = TextTable(
            ["model", "CLIP", "±", "Fréchet", "CMMD", "PSNR", "SSIM", "avg bits", "entropy", "file bytes", "s/image"])
        for row in rows {
            table.add([
                row.model, Numbers.fixed(row.clipScore, 3), Numbers.fixed(row.clipScoreStandardError, 3),
                Numbers.fixed(row.frechetDistance, 4), Numbers.fixed(row.cmmd, 4),
                row.meanSquaredError == 0 ? "∞" : Numbers.fixed(row.psnr, 2), Numbers.fixed(row.ssim, 4),
                Numbers.fixed(row.averageBits, 3), Numbers.fixed(row.entropyBits, 3), "\(row.fileBytes)",
                Numbers.fixed(row.secondsPerImage, 3),
            ])
        }
        table.print()
        printCategories()
        for line in differenceLines { Output.line(line) }
    }

    private func printCategories() {
        guard let categories = rows.first?.categories, !categories.isEmpty else { return }
        var table = TextTable(["category", "prompts"] + rows.flatMap { [$0.model, "±"] })
        for (index, category) in categories.enumerated() {
            let scores = rows.map { $0.categories[index].clipScore }
            table.add(
                [category.name, "\(category.clipScore.count)"]
                    + scores.flatMap { [Numbers.fixed($0.mean, 3), Numbers.fixed($0.standardError, 3)] })
        }
        Output.line("")
        table.print()
        Output.line("")
    }

    private var differenceLines: [String] {
        guard let first = rows.first else { return [] }
        return rows.compactMap { row in
            guard let difference = row.difference else { return nil }
            let interval =
                difference.interval.map { ", 95 % interval \(Self.signed($0[0])) to \(Self.signed($0[1]))" } ?? ""
            var line =
                PairedText.heading(row.model, first.model, images: prompts.count)
                + "CLIP \(Self.signed(difference.clipScore.mean))\(interval)"
            if let pValue = difference.pValue { line += ", p = \(Self.probability(pValue))" }
            if rows.count > 2, let adjusted = difference.adjustedPValue {
                line += ", \(Self.probability(adjusted)) after Holm's correction"
            }
            if let decisive = difference.adjustedPValue {
                line += decisive < 0.05 ? " (significant)" : " (not significant)"
            }
            return line
        }
    }

    private static func signed(_ value: Double) -> String { PairedText.signed(value, 4) }

    private static func probability(_ value: Double) -> String {
        value < 0.0001 ? "below 0.0001" : Numbers.fixed(value, 4)
    }
}

extension PromptScoreTable.Row {
    fileprivate init(
        _ model: String, _ path: String, _ measured: ImageMeasurements, _ prompts: [PromptRecord], features: Tensor?,
        difference: PromptScoreTable.Difference?
    ) {
        self.model = model
        self.difference = difference
        imageScores = measured.scores
        clipScore = Evaluation.clipScore(measured.scores)
        clipScoreStandardError = MeanEstimate(of: measured.scores).standardError
        let reference = prompts.count > 1 ? features : nil
        frechetDistance = reference.map { Evaluation.frechetDistance(features: measured.features, reference: $0) }
        cmmd = reference.map { clipMaximumMeanDiscrepancy(features: measured.features, reference: $0) }
        let error = measured.comparison.map { MeanEstimate(of: $0.squaredErrors).mean }
        meanSquaredError = error
        psnr = error.flatMap { $0 > 0 ? peakSignalToNoiseRatio(meanSquaredError: $0, dataRange: 1) : nil }
        ssim = measured.comparison?.similarities.map { MeanEstimate(of: $0).mean }
        averageBits = measured.size.averageBits
        entropyBits = measured.size.entropyBits
        fileBytes = Numbers.fileSize(path)
        secondsPerImage = measured.secondsPerImage
        var order: [String] = []
        for name in prompts.compactMap(\.category) where !order.contains(name) { order.append(name) }
        categories = order.map { name in
            let scores = zip(prompts, measured.scores).filter { $0.0.category == name }.map(\.1)
            return PromptScoreTable.Category(name: name, clipScore: MeanEstimate(of: scores))
        }
    }
}

/// Parts of the lines that compare a model with the first one.
enum PairedText {
    static func heading(_ model: String, _ first: String, images: Int) -> String {
        "\(model) against \(first), \(images) images in pairs: "
    }

    /// With a sign and `digits` decimal places.
    static func signed(_ value: Double, _ digits: Int) -> String {
        (value < 0 ? "" : "+") + Numbers.fixed(value, digits)
    }
}

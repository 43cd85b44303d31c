// SPDX-License-Identifier: Apache-2.0
// The data set is a function of seed and index alone, and draws families by its mixture.

import Checkpoints
import Testing

@testable import ShapesWorld

@Suite struct ShapesDatasetTests {
    private func batch(
        _ dataset: ShapesDataset, from first: Int, count: Int, dropping: Float = 0
    ) -> (pixels: [Float], tokens: [Int32]) {
        var pixels = [Float](repeating: .nan, count: count * SceneRenderer.valuesPerImage)
        var tokens = [Int32](repeating: -1, count: count * ShapesTokenizer.defaultLength)
        pixels.withUnsafeMutableBufferPointer { pixels in
            tokens.withUnsafeMutableBufferPointer { tokens in
                dataset.fillBatch(from: first, pixels: pixels, tokens: tokens, textDropping: dropping)
            }
        }
        return (pixels, tokens)
    }

    @Test("samples do not depend on the batch that they are drawn in")
    func batchIndependence() {
        let dataset = ShapesDataset(seed: 9)
        let complete = batch(dataset, from: 100, count: 12)
        var pixels: [Float] = [], tokens: [Int32] = []
        for (first, count) in [(100, 5), (105, 1), (106, 6)] {
            let part = batch(dataset, from: first, count: count)
            pixels += part.pixels
            tokens += part.tokens
        }
        #expect(complete.pixels == pixels)
        #expect(complete.tokens == tokens)
    }

    @Test("samples do not depend on the thread that draws them")
    func threadIndependence() async {
        let dataset = ShapesDataset(seed: 9)
        let alone = (0..<64).map { dataset.sample(at: $0) }
        let together = await withTaskGroup(of: (Int, ShapesDataset.Sample).self) { group in
            for index in 0..<64 { group.addTask { (index, dataset.sample(at: index)) } }
            return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
        for (index, sample) in alone.enumerated() { #expect(together[index] == sample) }
    }

    @Test("a batch contains pixels in the model's range and the ids of the captions")
    func batchContent() {
        let dataset = ShapesDataset(seed: 2), tokenizer = ShapesTokenizer()
        let batch = batch(dataset, from: 7, count: 3)
        let samples = (7..<10).map { dataset.sample(at: $0) }
        #expect(batch.pixels == samples.flatMap(\.image.modelRange))
        #expect(batch.tokens == samples.flatMap { tokenizer.encode($0.caption) })
        #expect(batch.pixels.allSatisfy { (-1...1).contains($0) })
    }

    @Test("captions are dropped at the given rate, and images do not change")
    func dropping() {
        let dataset = ShapesDataset(seed: 2), empty = ShapesTokenizer().emptyPrompt
        let kept = batch(dataset, from: 0, count: 1000),
            dropped = batch(dataset, from: 0, count: 1000, dropping: 0.1)
        #expect(kept.pixels == dropped.pixels)
        var count = 0
        for index in 0..<1000 {
            let row = index * empty.count..<(index + 1) * empty.count
            let isDropped = Array(dropped.tokens[row]) == empty
            #expect(isDropped == dataset.dropsCaption(at: index, probability: 0.1))
            if isDropped { count += 1 } else { #expect(dropped.tokens[row] == kept.tokens[row]) }
        }
        // Binomial(1000, 0.1): mean 100, standard deviation 9.5; four of them.
        #expect((62...138).contains(count))
    }

    @Test("the first samples are pinned")
    func pinned() {
        let dataset = ShapesDataset(seed: 0)
        #expect((0..<4).map { dataset.caption(at: $0).text } == Self.pinnedCaptions)
        // Weighted by position, so that moved objects count too.
        let checksum = dataset.sample(at: 0).image.pixels.enumerated().reduce(0.0) { sum, element in
            sum + Double(element.element) * Double(element.offset % 97)
        }
        #expect(abs(checksum - Self.pinnedChecksum) < 1e-3, "\(checksum)")
    }
    private static let pinnedCaptions = [
        "a triangle and a square", "a circle", "a yellow triangle and a magenta circle",
        "a magenta cross above a red triangle",
    ]
    private static let pinnedChecksum = 73247.76910665631

    @Test("different seeds and indices give different images")
    func distinct() {
        let images = (0..<500).map { ShapesDataset(seed: 1).sample(at: $0).image }
        #expect(Set(images).count == 500)
        #expect(ShapesDataset(seed: 1).sample(at: 0) != ShapesDataset(seed: 2).sample(at: 0))
    }

    @Test("the frequencies of families are those of the mixture")
    func mixture() {
        let mixtures = [
            FamilyMixture.standard,
            FamilyMixture([.twoObjects: 0.15, .counting: 3, .colors: 0.12, .position: 1, .colorAttribution: 0.2]),
        ]
        for mixture in mixtures {
            let dataset = ShapesDataset(seed: 5, mixture: mixture), total = 20_000
            var counts: [PromptFamily: Int] = [:]
            for index in 0..<total { counts[dataset.caption(at: index).family, default: 0] += 1 }
            for family in PromptFamily.allCases {
                let probability = mixture.probability(of: family)
                let deviation = (probability * (1 - probability) / Double(total)).squareRoot()
                let share = Double(counts[family] ?? 0) / Double(total)
                #expect(abs(share - probability) <= 4 * deviation, "\(family): \(share)")
            }
        }
        #expect(FamilyMixture.standard.probability(of: .position) == 0.25)
    }

    @Test("position captions with and without colors are equally frequent")
    func positionForms() {
        let dataset = ShapesDataset(seed: 5, mixture: FamilyMixture([.position: 1]))
        let plain = (0..<2000).filter { dataset.caption(at: $0).objects[0].color == nil }.count
        #expect((900...1100).contains(plain))
    }

    @Test("all captions of the smaller families are drawn")
    func coverage() {
        let dataset = ShapesDataset(seed: 6)
        let drawn = Set((0..<20_000).map { dataset.caption(at: $0) })
        for family in PromptFamily.allCases where family != .position {
            #expect(drawn.isSuperset(of: CaptionCatalog.captions(of: family)), "\(family)")
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Corrupted captions are false for all images of the true caption, and differ from it by one word or exchange.

import Testing

@testable import ShapesWorld

@Suite struct ShapesCorruptionTests {
    @Test(
        "every corruption contradicts its caption and has the same family",
        arguments: PromptFamily.allCases)
    func contradicts(family: PromptFamily) throws {
        for caption in CaptionCatalog.captions(of: family) {
            let corruptions = ShapesCorruption.all(of: caption)
            #expect(!corruptions.isEmpty)
            for corruption in corruptions {
                #expect(corruption.caption.contradicts(caption))
                #expect(corruption.caption.family == family)
                #expect(try SceneCaption(parsing: corruption.caption.text) == corruption.caption)
            }
        }
    }

    @Test("all corruptions except exchanges change exactly one word", arguments: PromptFamily.allCases)
    func oneWord(family: PromptFamily) {
        for caption in CaptionCatalog.captions(of: family) {
            for corruption in ShapesCorruption.all(of: caption) {
                let before = ShapesTokenizer.words(in: caption.text)
                let after = ShapesTokenizer.words(in: corruption.caption.text)
                let changed = zip(before, after).filter { $0 != $1 }.count
                #expect(before.count == after.count)
                switch corruption.kind {
                case .colorsExchanged, .objectsExchanged:
                    #expect(before.sorted() == after.sorted() && changed > 0)
                default: #expect(changed == 1, "\(caption) -> \(corruption.caption)")
                }
            }
        }
    }

    @Test("the corruptions of an example are the expected ones")
    func example() throws {
        let caption = try SceneCaption(parsing: "a red circle left of a blue square")
        func texts(_ kind: ShapesCorruption.Kind) -> [String] {
            ShapesCorruption.corruptions(of: caption, kind).map(\.caption.text)
        }
        #expect(texts(.relationFlipped) == ["a red circle right of a blue square"])
        #expect(texts(.objectsExchanged) == ["a blue square left of a red circle"])
        #expect(texts(.colorsExchanged) == ["a blue circle left of a red square"])
        #expect(texts(.countChanged).isEmpty)
        #expect(texts(.colorChanged).count == 10)
        #expect(texts(.shapeChanged).count == 6)
    }

    @Test("counts change by one and stay between two and four")
    func counts() {
        func counts(_ count: Int) -> [Int] {
            ShapesCorruption.corruptions(
                of: SceneCaption(count: count, of: ObjectPhrase(.circle)), .countChanged
            )
            .map(\.caption.objects.count)
        }
        #expect(counts(2) == [3] && counts(3) == [2, 4] && counts(4) == [3])
    }

    @Test("draws cover all applicable kinds and depend on the random stream alone")
    func draws() throws {
        let caption = try SceneCaption(parsing: "a red circle left of a blue square")
        var random = SceneRandom(seed: 3), again = SceneRandom(seed: 3)
        let drawn = (0..<200).map { _ in ShapesCorruption.draw(caption, using: &random) }
        #expect(drawn == (0..<200).map { _ in ShapesCorruption.draw(caption, using: &again) })
        #expect(Set(drawn.map(\.kind)).count == ShapesCorruption.Kind.allCases.count - 1)
    }
}

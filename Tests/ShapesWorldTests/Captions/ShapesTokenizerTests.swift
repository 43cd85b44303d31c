// SPDX-License-Identifier: Apache-2.0
// Token ids. Their order is part of the trained models' format, so it is pinned.

import Checkpoints
import Testing

@testable import ShapesWorld

@Suite struct ShapesTokenizerTests {
    private let tokenizer = ShapesTokenizer()

    @Test("the vocabulary is pinned")
    func vocabulary() {
        let words = """
            a and of left right above below two three four red green blue yellow magenta cyan \
            circle square triangle cross circles squares triangles crosses
            """
        #expect(ShapesTokenizer.vocabulary.joined(separator: " ") == words)
        #expect(ShapesTokenizer.vocabularySize == 26)
    }

    @Test("the ids of a sentence are start, words and padding")
    func encode() throws {
        let ids = try tokenizer.encode("a red circle left of a blue square")
        #expect(ids == [1, 2, 12, 18, 5, 4, 2, 14, 19, 0, 0, 0])
        #expect(tokenizer.decode(ids) == "a red circle left of a blue square")
    }

    @Test("the ids of the empty prompt are start and padding")
    func emptyPrompt() throws {
        #expect(try tokenizer.encode("") == [1] + Array(repeating: 0, count: 11))
        #expect(tokenizer.emptyPrompt == (try tokenizer.encode("  ")))
        #expect(tokenizer.decode(tokenizer.emptyPrompt).isEmpty)
    }

    @Test(
        "decoding the ids of a caption returns its sentence, and ids of captions differ",
        arguments: PromptFamily.allCases
    )
    func roundTrip(family: PromptFamily) {
        let captions = CaptionCatalog.captions(of: family)
        let sequences = captions.map { tokenizer.encode($0) }
        #expect(sequences.map(tokenizer.decode) == captions.map(\.text))
        #expect(sequences.allSatisfy { $0.count == tokenizer.length })
        #expect(Set(sequences).count == captions.count)
    }

    @Test("all captions fit the minimum length")
    func shortestLength() {
        let short = ShapesTokenizer(length: 9)
        for caption in CaptionCatalog.captions(of: .position) {
            #expect(short.decode(short.encode(caption)) == caption.text)
        }
    }

    @Test("unknown words and prompts that are too long are errors")
    func errors() {
        let unknown = CaptionError.unknownWord(
            word: "dog", prompt: "a red dog", known: ShapesTokenizer.vocabulary)
        #expect(throws: unknown) { try tokenizer.encode("a red dog") }
        let long = Array(repeating: "red", count: 12).joined(separator: " ")
        #expect(throws: CaptionError.tooManyWords(count: 12, limit: 11, prompt: long)) {
            try tokenizer.encode(long)
        }
    }

    @Test("ids outside the vocabulary decode to a question mark")
    func decodeOutside() {
        #expect(tokenizer.decode([1, 2, 26, -3]) == "a ? ?")
    }
}

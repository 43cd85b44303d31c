// SPDX-License-Identifier: Apache-2.0
// Captions: sentence, structure and parsing.

import Testing

@testable import ShapesWorld

@Suite struct SceneCaptionTests {
    @Test("parsing the sentence of a caption returns the caption", arguments: PromptFamily.allCases)
    func roundTrip(family: PromptFamily) throws {
        let captions = CaptionCatalog.captions(of: family)
        #expect(Set(captions.map(\.text)).count == captions.count)
        for caption in captions {
            #expect(try SceneCaption(parsing: caption.text) == caption)
            #expect(caption.family == family)
        }
    }

    @Test("the catalog contains all captions of GenEval's families")
    func catalogSize() {
        let sizes = PromptFamily.allCases.map { CaptionCatalog.captions(of: $0).count }
        #expect(sizes == [4, 12, 12, 24, 4 * 12 + 4 * 12 * 30, 12 * 30])
    }

    @Test("sentences are those of the documentation")
    func sentences() throws {
        let red = ObjectPhrase(.circle, .red), blue = ObjectPhrase(.square, .blue)
        #expect(SceneCaption(ObjectPhrase(.circle)).text == "a circle")
        #expect(
            SceneCaption(ObjectPhrase(.circle), and: ObjectPhrase(.square)).text == "a circle and a square")
        #expect(SceneCaption(count: 3, of: ObjectPhrase(.triangle)).text == "three triangles")
        #expect(SceneCaption(count: 4, of: ObjectPhrase(.cross)).text == "four crosses")
        #expect(SceneCaption(red).text == "a red circle")
        #expect(SceneCaption(red, .leftOf, blue).text == "a red circle left of a blue square")
        #expect(SceneCaption(red, and: blue).text == "a red circle and a blue square")
    }

    @Test("parsing ignores case, spaces and a final period")
    func forgiving() throws {
        let expected = SceneCaption(ObjectPhrase(.circle, .red), .leftOf, ObjectPhrase(.square, .blue))
        #expect(try SceneCaption(parsing: "  A red\tcircle LEFT of a blue square. ") == expected)
    }

    @Test("parsing accepts sentences beyond the catalog")
    func beyondCatalogue() throws {
        #expect(
            try SceneCaption(parsing: "three red circles").objects
                == Array(repeating: .init(.circle, .red), count: 3))
        #expect(try SceneCaption(parsing: "a circle above a red circle").family == .position)
        #expect(try SceneCaption(parsing: "a circle and a circle").text == "two circles")
    }

    @Test("the error of an unknown word lists the vocabulary")
    func unknownWord() {
        let error = CaptionError.unknownWord(
            word: "purple", prompt: "a purple circle", known: ShapesTokenizer.vocabulary)
        #expect(throws: error) { try SceneCaption(parsing: "a purple circle") }
        #expect(error.description.contains("\"purple\"") && error.description.contains("magenta"))
        #expect(!error.description.contains("\n"))
    }

    @Test(
        "a sentence outside the grammar is an error with the position and the expected words",
        arguments: [
            ("a red blue circle", 3, "blue", "circle square triangle cross"),
            ("circle", 1, "circle", "a two three four"),
            ("a circle left a square", 4, "a", "of"),
            (
                "two circle", 2, "circle",
                "red green blue yellow magenta cyan circles squares triangles crosses"
            ),
            ("a circle and two squares", 4, "two", "a"),
            ("a circle a square", 3, "a", "and left right above below"),
            ("three circles and a square", 3, "and", "the end"),
        ])
    func grammar(text: String, position: Int, found: String, expected: String) {
        #expect {
            try SceneCaption(parsing: text)
        } throws: { error in
            guard case .unexpectedWord(found, position, text, let words) = error as? CaptionError else {
                return false
            }
            return words.joined(separator: " ") == expected
        }
    }

    @Test(
        "an incomplete sentence is an error with the expected words",
        arguments: ["", " . ", "a", "a red", "a circle and", "two"])
    func unfinished(text: String) {
        #expect {
            try SceneCaption(parsing: text)
        } throws: { error in
            if case .unexpectedEnd(text, let expected) = error as? CaptionError {
                !expected.isEmpty
            } else {
                false
            }
        }
    }

    @Test("captions contradict each other if and only if no image satisfies both")
    func contradiction() throws {
        func contradict(_ first: String, _ second: String) throws -> Bool {
            let first = try SceneCaption(parsing: first), second = try SceneCaption(parsing: second)
            let result = first.contradicts(second)
            #expect(second.contradicts(first) == result)
            return result
        }
        #expect(try !contradict("a circle", "a red circle"))
        #expect(try contradict("a blue circle", "a red circle"))
        #expect(try contradict("a circle", "two circles"))
        #expect(try !contradict("a red circle and a square", "a blue square below a circle"))
        #expect(try contradict("a circle left of a square", "a square left of a circle"))
        #expect(try !contradict("a circle left of a square", "a square right of a circle"))
        #expect(try contradict("a circle left of a square", "a circle above a square"))
        #expect(try !contradict("a circle left of a circle", "a circle right of a circle"))
        #expect(try contradict("a red circle and a blue square", "a blue circle and a red square"))
    }
}

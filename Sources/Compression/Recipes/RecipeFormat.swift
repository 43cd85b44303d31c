// SPDX-License-Identifier: Apache-2.0
// Recipes in other formats: a plain list, and Apple's mixed-bit palettization analysis.

import Files
import Foundation

/// A file format of recipes. Readers detect it.
public enum RecipeFormat: String, Sendable, CaseIterable {
    /// `{"format": "bitsfusion-recipe", ...}`: the complete recipe.
    case json
    /// A line `path: bits` for each layer; `#` begins a comment.
    case list
    /// `{"model_version": ..., "recipes": {"<name>": {"<module>": bits, ...}}}`, as ml-stable-diffusion's
    /// mixed_bit_compression_pre_analysis.py writes and its mixed_bit_compression_apply.py reads.
    case apple
}

extension BitRecipe {
    /// Reads a recipe in any format.
    ///
    /// - Parameters:
    ///   - data: the file.
    ///   - name: the name of one recipe of an Apple analysis.
    /// - Returns: the recipe; from a list or an analysis, the bits alone.
    /// - Throws: `RecipeError`, as for the JSON format.
    public static func decode(anyFormat data: Data, name: String? = nil) throws(RecipeError) -> BitRecipe {
        let data = data.withoutByteOrderMark
        let first = data.first { !Character(UnicodeScalar($0)).isWhitespace }
        guard let first else {
            throw .malformed(location: "", reason: "expected a recipe, found an empty file; make it again")
        }
        let isJSON = first == UInt8(ascii: "{") || first == UInt8(ascii: "[")
        let keys =
            isJSON ? try parsedDocument(data)?.members.map { Set($0.map(\.key)) } : nil
        if let keys, keys.contains("recipes"), !keys.contains("layers") {
            let analysis: AppleAnalysis
            do {
                analysis = try JSONDecoder().decode(AppleAnalysis.self, from: data)
            } catch {
                throw RecipeError(decoding: error, isJSON: true)
            }
            return try analysis.recipe(named: name)
        }
        guard name == nil else {
            throw .malformed(
                location: "recipes",
                reason: "missing: FILE#NAME requires an Apple analysis with several recipes")
        }
        return isJSON ? try decode(from: data) : try decode(list: data)
    }

    /// Reads the recipe in the file `url`, in any format.
    ///
    /// - Parameters:
    ///   - url: the file.
    ///   - name: of the recipe, in an Apple analysis.
    /// - Returns: the recipe.
    /// - Throws: `RecipeError.inFile` around what reading throws.
    public static func load(anyFormat url: URL, name: String? = nil) throws(RecipeError) -> BitRecipe {
        do {
            return try decode(anyFormat: readFile(url), name: name)
        } catch {
            throw .inFile(name: url.relativePath, error)
        }
    }

    /// The recipe in `format`, as the bytes of a file.
    ///
    /// - Throws: as `encoded()`.
    public func encoded(as format: RecipeFormat) throws(RecipeError) -> Data {
        guard format == .json || deadZones.isEmpty else {
            throw .malformed(
                location: "deadZones", reason: "the format \(format.rawValue) has none; write the format json")
        }
        switch format {
        case .json: return try encoded()
        case .list:
            try validate()
            let lines = layers.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)\n" }
            return Data(lines.joined().utf8)
        case .apple:
            try validate()
            let bits = Dictionary(
                uniqueKeysWithValues: layers.map { ($0.key.rawValue, $0.value.rawValue) })
            let name = String(format: "recipe_%.2f_bit_mixedpalette", averageBits ?? 0)
            do {
                return try JSONEncoder.document.encode(
                    AppleAnalysis(modelVersion: model?.path ?? "", recipes: [name: bits])) + Data("\n".utf8)
            } catch {
                throw .malformed(location: "", reason: "\(error)")
            }
        }
    }

    /// Writes the recipe in `format`; an interrupted write leaves the old file whole.
    ///
    /// - Throws: `RecipeError.inFile` around `unwritable` or what `encoded(as:)` throws.
    public func write(to url: URL, as format: RecipeFormat) throws(RecipeError) {
        do {
            try replaceFile(url, with: encoded(as: format))
        } catch {
            throw .inFile(name: url.relativePath, error)
        }
    }

    private static func decode(list data: Data) throws(RecipeError) -> BitRecipe {
        guard let text = String(data: data, encoding: .utf8) else {
            throw .malformed(location: "", reason: "expected JSON or UTF-8 text; give a recipe")
        }
        var layers: [LayerID: BitWidth] = [:]
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
            .enumerated()
        {
            let line = line.prefix { $0 != "#" }.trimmingCharacters(in: .whitespaces)
            if line.isEmpty { continue }
            let location = "line \(index + 1)"
            guard let colon = line.lastIndex(of: ":"), colon != line.startIndex,
                let bits = Int(line[line.index(after: colon)...].trimmingCharacters(in: .whitespaces))
            else { throw .malformed(location: location, reason: "expected \"path: bits\"") }
            let path = LayerID(line[..<colon].trimmingCharacters(in: .whitespaces))
            guard let nominalBits = BitWidth(rawValue: bits) else {
                throw .bitsOutOfRange(path: path, found: bits)
            }
            guard layers.updateValue(nominalBits, forKey: path) == nil else { throw .duplicateLayer(path: path) }
        }
        let recipe = BitRecipe(layers: layers)
        try recipe.validate()
        return recipe
    }
}

/// The part of Apple's document that a recipe needs, under Apple's key.
private struct AppleAnalysis: Codable {
    let modelVersion: String?
    let recipes: [String: [String: Int]]

    enum CodingKeys: String, CodingKey {
        case modelVersion = "model_version"
        case recipes
    }

    /// The recipe called `name`, or the only one. 16 bits, which mean "not quantized" there, become 8.
    func recipe(named name: String?) throws(RecipeError) -> BitRecipe {
        let names = recipes.keys.sorted().joined(separator: ", ")
        guard let name = name ?? (recipes.count == 1 ? recipes.keys.first : nil), let bits = recipes[name]
        else {
            throw .malformed(
                location: "recipes",
                reason:
                    "expected one recipe or FILE#NAME, found \(names.isEmpty ? "none" : names)"
            )
        }
        var layers: [LayerID: BitWidth] = [:]
        for (module, bits) in bits.sorted(by: { $0.key < $1.key }) {
            let path = LayerID(module)
            guard let nominalBits = bits == 16 ? BitWidth(8) : BitWidth(rawValue: bits) else {
                throw .bitsOutOfRange(path: path, found: bits)
            }
            layers[path] = nominalBits
        }
        let recipe = BitRecipe(layers: layers, source: "ml-stable-diffusion, \(name)")
        try recipe.validate()
        return recipe
    }
}

// SPDX-License-Identifier: Apache-2.0
// What can be wrong with a document that passes between commands. Cases carry facts; the text is made here once.

import Files

/// An error of reading, checking or writing a document.
public enum RecipeError: Error, Equatable, Sendable {
    /// The file does not exist.
    case fileMissing
    /// The file exists but cannot be read; `reason` is the system's text.
    case unreadable(reason: String)
    /// The file cannot be written; `reason` is the system's text.
    case unwritable(reason: String)
    /// The `format` key names another kind of document, or is not there (`found` nil).
    case wrongFormat(expected: String, found: String?)
    /// The document is of a version that this program does not know.
    case unsupportedVersion(format: String, expected: Int, found: Int)
    /// The text is not the JSON that the document should be; `location` is the path of keys.
    case malformed(location: String, reason: String)
    /// A layer that the model does not have.
    case unknownLayer(path: LayerID)
    /// A layer of the model that the document lacks.
    case missingLayer(path: LayerID)
    /// A layer that is listed twice.
    case duplicateLayer(path: LayerID)
    /// A layer that the method never quantizes.
    case notQuantizable(path: LayerID, role: LayerRole)
    /// A nominal width outside of `BitWidth.range`.
    case bitsOutOfRange(path: LayerID, found: Int)
    /// A NaN or infinite number; `field` is such as `bits.1.mse`.
    case nonFinite(path: LayerID, field: String, found: String)
    /// A number that cannot be negative is.
    case negative(path: LayerID, field: String, found: Double)
    /// The document's count of a layer's weights is not the model's.
    case weightCount(path: LayerID, expected: Int, found: Int)
    /// A table of another analysis than the one in `file`, or one that contradicts it; values as text.
    case otherAnalysis(field: String, expected: String, file: String, found: String)
    /// One of the above, in the named file.
    indirect case inFile(name: String, RecipeError)
}

extension RecipeError {
    /// One line: what, where, expected and found, what to do.
    public var description: String {
        switch self {
        case .fileMissing:
            return "no such file; give the path of an existing one"
        case .unreadable(let reason):
            return "cannot read: \(reason)"
        case .unwritable(let reason):
            return "cannot write: \(reason)"
        case .wrongFormat(let expected, let found):
            let text = found.map { "\"\($0)\"" } ?? "no format"
            return "format: expected \"\(expected)\", found \(text); is this the right file?"
        case .unsupportedVersion(let format, let expected, let found):
            return "version: expected \(expected) of \(format), found \(found); "
                + (found > expected ? "update this program" : "make the file again")
        case .malformed(let location, let reason):
            return location.isEmpty ? "malformed: \(reason)" : "\(location): malformed: \(reason)"
        case .unknownLayer(let path):
            return "\(path): the model has no such layer; use diffusers' module paths"
        case .missingLayer(let path):
            return
                "\(path): a layer of the model that is not listed; list every layer, or use the matching model"
        case .duplicateLayer(let path):
            return "\(path): listed twice; remove one"
        case .notQuantizable(let path, let role):
            return "\(path): a \(role.rawValue) layer is never quantized; remove it"
        case .bitsOutOfRange(let path, let found):
            return "\(path): nominal bits: expected \(BitWidth.range), found \(found)"
        case .nonFinite(let path, let field, let found):
            return "\(path): \(field): expected a finite number, found \(found); analyze this layer again"
        case .negative(let path, let field, let found):
            return "\(path): \(field): expected a number >= 0, found \(found); analyze this layer again"
        case .weightCount(let path, let expected, let found):
            return
                "\(path): weights: expected \(expected), found \(found); was the file made for another model?"
        case .otherAnalysis(let field, let expected, let file, let found):
            return
                "\(field): expected \(expected) as in \(file), found \(found); merge tables of one analysis only"
        case .inFile(let name, let error):
            return "\(name): \(error)"
        }
    }
}

extension RecipeError: CategorizedError {
    public var category: ErrorCategory {
        switch self {
        case .fileMissing: .inputMissing
        case .unwritable: .cannotCreate
        case .unreadable: .inputOutput
        case .inFile(_, let error): error.category
        default: .badData
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Errors of the documents that pass between commands. Cases carry facts; their text is made in `description`.

import Files

/// An error of reading, checking or writing a document.
public enum RecipeError: Error, Equatable, Sendable {
    /// The file does not exist.
    case fileMissing
    /// The file exists but cannot be read; `reason` is the text of the operating system.
    case unreadable(reason: String)
    /// The file cannot be created; `reason` is the text of the operating system.
    case unwritable(reason: String)
    /// Writing failed, for example because the disk is full; `reason` is the text of the operating system. A file that
    /// existed before (`hadFile`) is unchanged.
    case writeFailed(reason: String, hadFile: Bool)
    /// The `format` key names another kind of document or is missing (`found` nil).
    case wrongFormat(expected: String, found: String?)
    /// The version of the document is not supported.
    case unsupportedVersion(format: String, expected: Int, found: Int)
    /// The text is not the expected JSON; `location` is the path of keys.
    case malformed(location: String, reason: String)
    /// A layer that the model does not have; `model` is the one that the document was made for, if it names one.
    case unknownLayer(path: LayerID, model: String? = nil)
    /// A layer of the model that the document does not list; `model` as above.
    case missingLayer(path: LayerID, model: String? = nil)
    /// A layer that is listed twice.
    case duplicateLayer(path: LayerID)
    /// A layer that the method never quantizes.
    case notQuantizable(path: LayerID, role: LayerRole)
    /// Nominal bits outside of `BitWidth.range`.
    case bitsOutOfRange(path: LayerID, found: Int)
    /// A NaN or infinite number; `field` is a path such as `bits.1.mse`.
    case nonFinite(path: LayerID, field: String, found: String)
    /// A negative number where only numbers >= 0 are possible.
    case negative(path: LayerID, field: String, found: Double)
    /// The number of weights of a layer differs from the model's.
    case weightCount(path: LayerID, expected: Int, found: Int)
    /// A table of another analysis than the one in `file`, or a contradicting layer; values as text.
    case otherAnalysis(field: String, expected: String, file: String, found: String)
    /// One of the above, in the named file.
    indirect case inFile(name: String, RecipeError)
}

extension RecipeError {
    /// One line: what is wrong, where, expected and found, what to do.
    public var description: String {
        switch self {
        case .fileMissing:
            return "no such file; give the path of an existing one"
        case .unreadable(let reason):
            return "cannot be read: \(reason)"
        case .unwritable(let reason):
            return "cannot be created: \(reason)"
        case .writeFailed(let reason, let hadFile):
            return "writing failed (\(reason)); " + (hadFile ? "the previous file is unchanged" : "no file was written")
        case .wrongFormat(let expected, let found):
            let text = found.map { "\"\($0)\"" } ?? "none"
            return "format: wrong kind of file: expected \"\(expected)\", found \(text); give another file"
        case .unsupportedVersion(let format, let expected, let found):
            return "version: not supported: expected \(expected) of \(format), found \(found); "
                + (found > expected ? "update this program" : "make the file again")
        case .malformed(let location, let reason):
            return location.isEmpty ? "malformed: \(reason)" : "\(location): malformed: \(reason)"
        case .unknownLayer(let path, let model?):
            return
                "\(named(path.rawValue)): unknown layer: the model has no layer of this name; the recipe was made for "
                + "\(model), use it with that model"
        case .missingLayer(let path, let model?):
            return
                "\(path): missing: the model has this layer; the recipe was made for \(model), use it with that model"
        case .unknownLayer(let path, nil):
            return
                "\(named(path.rawValue)): unknown layer: the model has no layer of this name; use diffusers' module "
                + "paths"
        case .missingLayer(let path, nil):
            return
                "\(path): missing: the model has this layer; list every layer, or use the matching model"
        case .duplicateLayer(let path):
            return "\(path): duplicate layer: listed twice; remove one"
        case .notQuantizable(let path, let role):
            return "\(path): layers of the role \(role.rawValue) are not quantized; remove it"
        case .bitsOutOfRange(let path, let found):
            return "\(path): nominal bits: expected \(BitWidth.range), found \(found)"
        case .nonFinite(let path, let field, let found):
            return "\(path): \(field): expected a finite number, found \(found); analyze this layer again"
        case .negative(let path, let field, let found):
            return "\(path): \(field): expected a number >= 0, found \(found); analyze this layer again"
        case .weightCount(let path, let expected, let found):
            return
                "\(path): weights: count differs from the model: expected \(expected), found \(found); use the "
                + "matching model"
        case .otherAnalysis(let field, let expected, let file, let found):
            return
                "\(field): differs from \(file): expected \(expected), found \(found); merge tables of one analysis "
                + "only"
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
        case .unreadable, .writeFailed: .inputOutput
        case .inFile(_, let error): error.category
        default: .badData
        }
    }
}

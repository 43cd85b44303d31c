// SPDX-License-Identifier: Apache-2.0
// Why the weights of a model folder were not found: what is there instead, and what to do.

import Files

/// A folder without the weights that were looked for.
public enum WeightFilesError: Error, Equatable, Sendable {
    /// A link whose target does not exist, as in an interrupted download to the Hub's cache.
    case danglingLink(path: String, target: String)
    /// Shards are there, but not the index that says which tensor is in which.
    case missingIndex(folder: String, index: String, shards: [String])
    /// The index names a shard that is not in its folder.
    case missingShard(index: String, shard: String)
    /// There are weights, but of other variants. `asked` is the variant that was asked for, nil for none; `present`
    /// are the variants that are there, "" for weights without one.
    case otherVariants(folder: String, asked: String?, present: [String])
    /// The only weights are pickles, in PyTorch's format. `stem` is the name without an extension to convert one to.
    case pickles(folder: String, stem: String, files: [String])
    /// The file is a LoRA, which changes a model and is none by itself.
    case lora(file: String)
    /// There are no weights that can be read; `files` are those that might be.
    case none(folder: String, expected: String, files: [String])
}

extension WeightFilesError: CategorizedError {
    public var category: ErrorCategory {
        if case .lora = self { .badData } else { .inputMissing }
    }

    public var description: String {
        switch self {
        case .danglingLink(let path, let target):
            "\(path): a link to \(target), which does not exist; download the file again"
        case .missingIndex(let folder, let index, let shards):
            "\(folder): found \(listed(shards)), but not the index \(index); download it to the same folder"
        case .missingShard(let index, let shard):
            "\(index): the shard \(shard) is not in this folder; download it to the same folder"
        case .otherVariants(let folder, let asked, let present):
            "\(folder): no weights " + (asked.map { "of the variant \($0)" } ?? "without a variant") + "; "
                + Self.choice(present)
        case .pickles(let folder, let stem, let files):
            "\(folder): found only \(listed(files)), PyTorch pickles, which are not read; "
                + FileError.pickleAdvice("\(folder)/\(files.first ?? "")", "\(folder)/\(stem).safetensors")
        case .lora(let file):
            "\(file): a LoRA, not a model; import the model that it was trained for with --lora \(file)"
        case .none(let folder, let expected, let files):
            "\(folder): no \(expected) (nor a sharded index)"
                + (files.isEmpty
                    ? "; download the weights to this folder"
                    : "; found \(listed(files)); rename the weights, or download them")
        }
    }

    private static func choice(_ present: [String]) -> String {
        let named = present.filter { !$0.isEmpty }
        let options = named.map { "--variant \($0)" }
        if !present.contains("") { return "found \(listed(named)); use \(options.joined(separator: " or "))" }
        return named.isEmpty
            ? "found weights without a variant; leave out --variant"
            : "found weights without a variant and \(listed(named)); leave out --variant, or use "
                + options.joined(separator: " or ")
    }
}

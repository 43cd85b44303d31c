// SPDX-License-Identifier: Apache-2.0
// LoRAs on the command line and in prompts.

import ArgumentParser
import BitsFusion
import Foundation

/// `<file>` or `<file>=<weight>`.
struct LoRAReference: ExpressibleByArgument, Hashable {
    let path: String
    let weight: Float

    init(path: String, weight: Float) { (self.path, self.weight) = (path, weight) }

    init?(argument: String) {
        guard let equals = argument.lastIndex(of: "="), let weight = Float(argument[argument.index(after: equals)...])
        else {
            (path, weight) = (argument, 1)
            return
        }
        guard weight.isFinite, equals != argument.startIndex else { return nil }
        (path, self.weight) = (String(argument[..<equals]), weight)
    }

    /// Checks that what follows the last equals sign belongs to the name of the file and is not a wrong weight.
    ///
    /// - Throws: `CommandError`.
    func check() throws {
        let files = FileManager.default
        guard !files.fileExists(atPath: path), let equals = path.lastIndex(of: "="),
            files.fileExists(atPath: String(path[..<equals]))
        else { return }
        throw CommandError(
            .usage,
            "--lora: \(path[..<equals]): weight: expected a number, found "
                + "\(named(String(path[path.index(after: equals)...]))); correct or remove it")
    }
}

/// A prompt and the LoRAs that it names: `<lora:NAME>` or `<lora:NAME:WEIGHT>`, as in other programs.
struct AdaptedPrompt: Hashable {
    /// The prompt as it was given.
    let source: String
    /// The prompt without the names of LoRAs.
    let text: String
    let loras: [LoRAReference]

    /// - Parameters:
    ///   - source: the prompt.
    ///   - folder: where NAME.safetensors is.
    /// - Throws: `CommandError` for a name or weight that is not valid.
    init(_ source: String, folder: String) throws {
        self.source = source
        var (text, loras, rest) = ("", [LoRAReference](), Substring(source))
        while let start = rest.range(of: "<lora:"), let end = rest[start.upperBound...].firstIndex(of: ">") {
            text += rest[..<start.lowerBound]
            let parts = rest[start.upperBound..<end].split(separator: ":", omittingEmptySubsequences: false)
            let weight = parts.count == 1 ? 1 : Float(parts[1])
            guard let name = parts.first, !name.isEmpty, parts.count <= 2, let weight, weight.isFinite else {
                throw CommandError(
                    .usage,
                    "prompt: \(named(String(rest[start.lowerBound...end]))): expected <lora:NAME> or "
                        + "<lora:NAME:WEIGHT>, with a number")
            }
            loras.append(LoRAReference(path: PathParts(folder + "/").sibling(name + ".safetensors"), weight: weight))
            rest = rest[rest.index(after: end)...]
        }
        self.text = loras.isEmpty ? source : (text + rest).trimmingCharacters(in: .whitespaces)
        self.loras = loras
    }
}

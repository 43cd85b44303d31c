// SPDX-License-Identifier: Apache-2.0
// Prompts in a text file, one a line.

import BitsFusion
import Foundation

enum PromptFile {
    /// The lines of the file at `path` without the spaces around them; empty ones are left out.
    ///
    /// - Throws: `CheckpointError.missingFile`, `.unreadable`; `CommandError` where it is no text or holds no prompt.
    static func prompts(at path: String) throws -> [String] {
        guard let text = String(data: try AtomicFile.read(path), encoding: .utf8) else {
            throw CommandError(.badData, "\(path): not UTF-8 text; give a file with a prompt on each line")
        }
        let prompts = text.split(whereSeparator: \.isNewline)
            .map { $0.trimmingCharacters(in: .whitespaces) }.filter { !$0.isEmpty }
        guard !prompts.isEmpty else {
            throw CommandError(.badData, "\(path): no prompts; give a file with a prompt on each line")
        }
        return prompts
    }
}

// SPDX-License-Identifier: Apache-2.0
// Names and lists of names in messages and files.

/// Compares names by their UTF-8 bytes, so that the order of lists and files does not depend on the locale.
package func byBytes(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }

/// A name of a file's content for one line of text: shortened, and quoted unless it is a plain word.
package func named(_ name: String) -> String {
    let short = name.shortened
    let special = "\"',;\\\u{7F}".unicodeScalars
    let isPlain = short.unicodeScalars.allSatisfy { $0.value > 0x20 && !special.contains($0) }
    return isPlain && !short.isEmpty ? short : name.quoted
}

/// The number of things with their name, such as "1 tensor" or "2 tensors".
package func counted(_ count: Int, _ noun: String) -> String { "\(count) \(noun)\(count == 1 ? "" : "s")" }

extension String {
    /// The text for a message: of more than 100 characters the first 100 and `...`.
    package var shortened: String { dropFirst(100).isEmpty ? self : prefix(100) + "..." }

    /// The shortened text in quotes, with escapes for what is not printable.
    package var quoted: String { shortened.debugDescription }

    /// The text with blanks in place of line breaks. Messages have one line, and names and values of a damaged file may
    /// have several.
    package var inOneLine: String {
        split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).joined(separator: " ")
    }
}

/// Up to four names, then how many more.
package func listed(_ names: [String]) -> String {
    let shown = names.prefix(4).map(named).joined(separator: ", ")
    return names.count > 4 ? "\(shown) and \(names.count - 4) more" : shown
}

// SPDX-License-Identifier: Apache-2.0
// Lists of names in messages and files.

/// Compares names by their UTF-8 bytes, so that the order of lists and files does not depend on the locale.
package func byBytes(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }

extension String {
    /// The text with blanks in place of line breaks. Messages have one line, and names and values of a damaged file may
    /// have several.
    package var inOneLine: String {
        split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).joined(separator: " ")
    }
}

/// Up to four names, then how many more.
package func listed(_ names: [String]) -> String {
    let shown = names.prefix(4).joined(separator: ", ").inOneLine
    return names.count > 4 ? "\(shown) and \(names.count - 4) more" : shown
}

// SPDX-License-Identifier: Apache-2.0
// Lists of names in messages and files.

/// Compares names by their UTF-8 bytes, so that the order of lists and files does not depend on the locale.
package func byBytes(_ a: String, _ b: String) -> Bool { a.utf8.lexicographicallyPrecedes(b.utf8) }

/// Up to four names, then how many more.
package func listed(_ names: [String]) -> String {
    let shown = names.prefix(4).joined(separator: ", ")
    return names.count > 4 ? "\(shown) and \(names.count - 4) more" : shown
}

// SPDX-License-Identifier: Apache-2.0
// Options of `bitsfusion allocate` in the words of the command line.

import ArgumentParser
import BitsFusion
import Foundation

/// A number of bytes, such as 218MB, 1.2GB or 900000.
struct ByteCount: ExpressibleByArgument {
    let bytes: Int

    private static let units: [(name: String, bytes: Double)] = [
        ("KIB", 1024), ("MIB", 1_048_576), ("GIB", 1_073_741_824), ("KB", 1e3), ("MB", 1e6), ("GB", 1e9),
        ("B", 1),
    ]

    init?(argument: String) {
        let text = argument.uppercased()
        let unit = Self.units.first { text.hasSuffix($0.name) }
        let number = text.dropLast(unit?.name.count ?? 0).trimmingCharacters(in: .whitespaces)
        guard let value = Double(number), value > 0 else { return nil }
        let bytes = (value * (unit?.bytes ?? 1)).rounded(.down)
        guard bytes >= 1, bytes < 1e15 else { return nil }
        self.bytes = Int(bytes)
    }
}

/// `<regex>=<bits>`; the pattern may hold equals signs itself.
extension LayerPin: ExpressibleByArgument {
    public init?(argument: String) {
        guard let equals = argument.lastIndex(of: "="), equals != argument.startIndex,
            let bits = Int(argument[argument.index(after: equals)...]).flatMap(BitWidth.init(rawValue:))
        else { return nil }
        self.init(pattern: String(argument[..<equals]), bits: bits)
    }
}

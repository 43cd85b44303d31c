// SPDX-License-Identifier: Apache-2.0
// Types of option values. Choices of the library have the names that files use for them.

import ArgumentParser
import BitsFusion
import Foundation

extension SamplerKind: ExpressibleByArgument {}
extension ElementType: ExpressibleByArgument {}
extension PackingEncoding: ExpressibleByArgument {}
extension AllocationMethod: ExpressibleByArgument {}
extension AllocationMetric: ExpressibleByArgument {}
extension RecipeFormat: ExpressibleByArgument {}
extension ActivationType: ExpressibleByArgument {}
extension PredictionType: ExpressibleByArgument {}
extension RandomNumberKind: ExpressibleByArgument {}
extension GridKind: ExpressibleByArgument {}
extension GGUFExport.Loader: ExpressibleByArgument {}

extension ScaleInitialization: ExpressibleByArgument {
    public init?(argument: String) {
        switch argument {
        case "alternating": self = .paper
        case "min-max": self = .minMax
        case "search": self = .paperSearch
        default: return nil
        }
    }

    public var defaultValueDescription: String {
        switch self {
        case .alternating: "alternating"
        case .minMax: "min-max"
        case .search: "search"
        }
    }
    public static var allValueStrings: [String] { ["alternating", "min-max", "search"] }
}

extension SensitivityShard: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

/// How candidates are measured: one or more of `images`, `noise` and `fisher`, separated by commas.
struct MeasurementList: ExpressibleByArgument {
    let modes: Set<MeasurementMode>

    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map {
            MeasurementMode(rawValue: String($0))
        }
        let modes = Set(parts.compactMap { $0 })
        guard modes.count == parts.count else { return nil }
        self.modes = modes
    }
}

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

/// `<regex>=<bits>`; the pattern may contain equals signs.
extension LayerPin: ExpressibleByArgument {
    public init?(argument: String) {
        guard let equals = argument.lastIndex(of: "="), equals != argument.startIndex,
            let bits = Int(argument[argument.index(after: equals)...]).flatMap(BitWidth.init(rawValue:))
        else { return nil }
        self.init(pattern: String(argument[..<equals]), bits: bits)
    }
}

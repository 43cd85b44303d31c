// SPDX-License-Identifier: Apache-2.0
// Options of `bitsfusion analyze` in the words of the command line.

import ArgumentParser
import BitsFusion

/// What candidates are measured by: `images`, `noise`, or both separated by a comma.
struct MeasureList: ExpressibleByArgument {
    let kinds: Set<MeasurementMode>

    init?(argument: String) {
        let parts = argument.split(separator: ",", omittingEmptySubsequences: false).map {
            MeasurementMode(rawValue: String($0))
        }
        let kinds = Set(parts.compactMap { $0 })
        guard kinds.count == parts.count, kinds.isSubset(of: [.images, .noise]) else { return nil }
        self.kinds = kinds
    }
}

/// How sensitivity is predicted instead of measured.
enum DamageScore: String, ExpressibleByArgument, CaseIterable {
    case fisher
}

extension SensitivityShard: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

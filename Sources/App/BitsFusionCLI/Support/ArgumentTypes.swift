// SPDX-License-Identifier: Apache-2.0
// The library's choices as command-line arguments, under the names that files use for them.

import ArgumentParser
import BitsFusion

extension SamplerKind: ExpressibleByArgument {}
extension ElementType: ExpressibleByArgument {}
extension PackingEncoding: ExpressibleByArgument {}
extension AllocationMethod: ExpressibleByArgument {}
extension AllocationMetric: ExpressibleByArgument {}
extension RecipeFormat: ExpressibleByArgument {}

/// How scales start.
enum ScaleStart: String, ExpressibleByArgument, CaseIterable {
    case alternating
    case minMax = "min-max"

    var initialization: ScaleInitialization {
        switch self {
        case .alternating: .paper
        case .minMax: .minMax
        }
    }
}

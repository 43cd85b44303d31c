// SPDX-License-Identifier: Apache-2.0
// Whether two sides computed the same thing.

import BitsFusion
import Foundation

/// How far two sides' results lie apart.
struct ResultDifference: Codable, Equatable {
    /// The largest difference in any result, as a share of that result's largest value; infinite where one side has a
    /// result that the other has not, another shape, or values that are not finite.
    let largest: Double
    /// Where that is.
    let name: String

    /// Compares `ours` with what lies in the file `path`.
    ///
    /// - Parameters:
    ///   - ours: by name.
    ///   - path: a .safetensors file with results of the same names.
    ///   - type: what the other side computed in. In bfloat16 all results `gradient.*` are measured by the largest value
    ///     of all of them, since the gradients of some parameters are small remainders of large terms: those that move
    ///     all scores of a softmax alike, for one.
    /// - Throws: `CheckpointError` for a file that cannot be read.
    init(_ ours: [String: Tensor], file path: String, type: TwinType) throws {
        let reader = try SafetensorsReader(path)
        var theirs: [String: Tensor] = [:]
        for key in reader.keys { theirs[key] = try reader.tensor(key) }
        self.init(ours, theirs, type: type)
    }

    init(_ ours: [String: Tensor], _ theirs: [String: Tensor], type: TwinType) {
        let pairs = Set(ours.keys).union(theirs.keys).sorted().map { key in
            (key: key, extent: Self.extent(ours[key], theirs[key]))
        }
        let ofGradients = pairs.filter { Self.isGradient($0.key) }.compactMap(\.extent?.value).max() ?? 0
        let differences = pairs.map { key, extent in
            let isJoint = type == .bfloat16 && Self.isGradient(key)
            let share = extent.map { $0.share(of: isJoint ? ofGradients : $0.value) }
            return (key: key, share: share ?? .infinity)
        }
        let largest = differences.max { $0.share < $1.share }
        // Nothing to compare is no agreement.
        self.largest = largest?.share ?? .infinity
        name = largest?.key ?? ""
    }

    /// The largest difference and the largest value of one result.
    private struct Extent {
        var gap = 0.0
        var value = 0.0

        func share(of value: Double) -> Double {
            gap == 0 ? 0 : gap / max(value, Double(Float.leastNormalMagnitude))
        }
    }

    private static func isGradient(_ key: String) -> Bool { key.hasPrefix("gradient.") }

    /// nil for results that cannot be compared.
    private static func extent(_ ours: Tensor?, _ theirs: Tensor?) -> Extent? {
        guard let ours, let theirs, ours.shape == theirs.shape, ours.isFinite, theirs.isFinite else {
            return nil
        }
        return ours.withUnsafeBufferPointer { a in
            theirs.withUnsafeBufferPointer { b in
                var (gap, value): (Float, Float) = (0, 0)
                for index in a.indices {
                    gap = max(gap, abs(a[index] - b[index]))
                    value = max(value, abs(b[index]))
                }
                return Extent(gap: Double(gap), value: Double(value))
            }
        }
    }
}

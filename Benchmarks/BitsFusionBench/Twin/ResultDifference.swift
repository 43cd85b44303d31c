// SPDX-License-Identifier: Apache-2.0
// Comparison of the results of two sides.

import BitsFusion
import Foundation

/// The largest difference between the results of two sides.
struct ResultDifference: Codable, Equatable {
    /// The largest difference in any result, relative to the largest value of that result; infinite if a result is
    /// missing, has another shape, or has non-finite values.
    let largest: Double
    /// The name of that result.
    let name: String

    /// Compares `ours` with the results in the file `path`.
    ///
    /// - Parameters:
    ///   - ours: results by name.
    ///   - path: a .safetensors file with results of the same names.
    ///   - type: the element type of the other side. For bfloat16, differences of all results `gradient.*` are relative
    ///     to the largest value of all gradients, because some gradients are small differences of large terms (for
    ///     example those of a bias of the keys, which does not change the softmax).
    /// - Throws: `CheckpointError` for a file that cannot be read.
    init(_ ours: [String: Tensor], file path: String, type: TwinType) throws {
        let reader = try SafetensorsReader(path)
        var reference: [String: Tensor] = [:]
        for key in reader.keys { reference[key] = try reader.tensor(key) }
        self.init(ours, reference, type: type)
    }

    init(_ ours: [String: Tensor], _ reference: [String: Tensor], type: TwinType) {
        let pairs = Set(ours.keys).union(reference.keys).sorted().map { key in
            (key: key, extent: Self.extent(ours[key], reference[key]))
        }
        let ofGradients = pairs.filter { Self.isGradient($0.key) }.compactMap(\.extent?.value).max() ?? 0
        let differences = pairs.map { key, extent in
            let isJoint = type == .bfloat16 && Self.isGradient(key)
            let share = extent.map { $0.share(of: isJoint ? ofGradients : $0.value) }
            return (key: key, share: share ?? .infinity)
        }
        let largest = differences.max { $0.share < $1.share }
        // No results do not count as agreement.
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

    /// Nil for results that cannot be compared.
    private static func extent(_ ours: Tensor?, _ reference: Tensor?) -> Extent? {
        guard let ours, let reference, ours.shape == reference.shape, ours.isFinite, reference.isFinite else {
            return nil
        }
        return ours.withUnsafeBufferPointer { a in
            reference.withUnsafeBufferPointer { b in
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

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
    /// - Throws: `CheckpointError` for a file that cannot be read.
    init(_ ours: [String: Tensor], file path: String) throws {
        let reader = try SafetensorsReader(path)
        var theirs: [String: Tensor] = [:]
        for key in reader.keys { theirs[key] = try reader.tensor(key) }
        self.init(ours, theirs)
    }

    init(_ ours: [String: Tensor], _ theirs: [String: Tensor]) {
        var (largest, name) = (0.0, "")
        for key in Set(ours.keys).union(theirs.keys).sorted() {
            let found = Self.difference(ours[key], theirs[key])
            if name.isEmpty || found > largest || found.isNaN { (largest, name) = (found, key) }
        }
        // Nothing to compare is no agreement.
        self.largest = name.isEmpty ? .infinity : largest
        self.name = name
    }

    private static func difference(_ ours: Tensor?, _ theirs: Tensor?) -> Double {
        guard let ours, let theirs, ours.shape == theirs.shape, ours.isFinite, theirs.isFinite else {
            return .infinity
        }
        return ours.withUnsafeBufferPointer { a in
            theirs.withUnsafeBufferPointer { b in
                var (gap, peak): (Float, Float) = (0, 0)
                for index in a.indices {
                    gap = max(gap, abs(a[index] - b[index]))
                    peak = max(peak, abs(b[index]))
                }
                return gap == 0 ? 0 : Double(gap) / Double(max(peak, .leastNormalMagnitude))
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// The maximum norm of small vectors, for comparisons of colors and positions.

@testable import ShapesWorld

/// The largest absolute component of `vector`; NaN if a component is.
func largestMagnitude<Vector: SIMD>(_ vector: Vector) -> Float where Vector.Scalar == Float {
    vector.indices.reduce(0) { vector[$1].isNaN ? .nan : max($0, abs(vector[$1])) }
}

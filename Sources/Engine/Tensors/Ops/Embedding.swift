// SPDX-License-Identifier: Apache-2.0
// Table lookup.

/// The rows of `weight` `[V, D]` with indices `ids` (row-major for `shape`) → `shape + [D]`.
///
/// - Precondition: every id is in `0..<V`.
public func embedding(_ ids: [Int32], shape: [Int], weight: Tensor) -> Tensor {
    precondition(weight.rank == 2, "embedding: weight \(weight.shape) is not [V, D]")
    precondition(ids.count == shape.reduce(1, *), "embedding: \(ids.count) ids for shape \(shape)")
    let (rows, channels) = (weight.shape[0], weight.shape[1])
    let output = Tensor(unsafeUninitialized: shape + [channels])
    // Of a packed or 16-bit table, only the rows of `ids` are converted.
    for (position, id) in ids.enumerated() {
        precondition(id >= 0 && id < rows, "embedding: id \(id) outside a table of \(rows) rows")
        weight.forEachRows(of: Int(id)..<Int(id) + 1) { _, row in
            (output.pointer + position * channels).update(from: row, count: channels)
        }
    }
    return .custom("embedding", inputs: [weight], output: output) { g in
        let gw = Tensor.zeros([rows, channels])
        for (position, id) in ids.enumerated() {
            kernels.axpy(1, g.pointer + position * channels, gw.pointer + Int(id) * channels, channels)
        }
        return [gw]
    }
}

// SPDX-License-Identifier: Apache-2.0
// What operations keep of their operands until the backward pass. A weight that is made when it is read (rounded to a
// grid, widened from 16 bits) is not kept: between its uses it takes no memory.

/// An operand as an operation keeps it for its backward pass: the values, or how to make them again.
struct SavedTensor {
    let shape: [Int]
    private let kept: Tensor?
    private let lazyRows: LazyRows?

    init(_ tensor: Tensor) {
        shape = tensor.shape
        lazyRows = tensor.storage.lazyRows
        kept = lazyRows == nil ? tensor.detached() : nil
    }

    /// The values, off the tape; ask once per backward pass.
    func values() -> Tensor {
        if let lazyRows { return Tensor(storage: Storage(lazyRows), shape: shape) }
        guard let kept else { preconditionFailure("a saved tensor is kept or made again") }
        return kept
    }
}

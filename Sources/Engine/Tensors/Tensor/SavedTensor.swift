// SPDX-License-Identifier: Apache-2.0
// Operands saved for the backward pass. Of a lazy weight (fake-quantized or 16-bit), only the function that computes
// its rows is saved, so that the dense weight takes no memory between its uses.

/// An operand saved by an operation for its backward pass: its values, or the function that computes them again.
struct SavedTensor {
    let shape: [Int]
    private let saved: Tensor?
    private let lazyRows: LazyRows?

    init(_ tensor: Tensor) {
        shape = tensor.shape
        lazyRows = tensor.storage.lazyRows
        saved = lazyRows == nil ? tensor.detached() : nil
    }

    /// The values, off the tape; call once per backward pass.
    func values() -> Tensor {
        if let lazyRows { return Tensor(storage: Storage(lazyRows), shape: shape) }
        guard let saved else { preconditionFailure("SavedTensor: neither values nor lazy rows") }
        return saved
    }
}

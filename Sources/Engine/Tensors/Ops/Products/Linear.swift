// SPDX-License-Identifier: Apache-2.0
// The product of a fully connected layer and its gradients, on packed panels.
// M rows (tokens), IC/OC channels.

import CKernels

/// `x` `[..., IC]` · `weight` `[OC, IC]`ᵀ + `bias` `[OC]` + `residual` `[..., OC]` → `[..., OC]`.
public func linear(_ x: Tensor, weight: Tensor, bias: Tensor?, residual: Tensor? = nil) -> Tensor {
    precondition(
        weight.rank == 2 && x.rank > 0 && x.shape[x.rank - 1] == weight.shape[1],
        "linear: x \(x.shape) · weight \(weight.shape)ᵀ: inner dimensions differ")
    let (outputs, inputs) = (weight.shape[0], weight.shape[1])
    if let bias { precondition(bias.shape == [outputs], "linear: bias \(bias.shape) for \(outputs) outputs") }
    let shape = Array(x.shape.dropLast()) + [outputs]
    if let residual {
        precondition(residual.shape == shape, "linear: residual \(residual.shape) for outputs \(shape)")
    }
    let rows = shape.dropLast().reduce(1, *)
    let output = Tensor(unsafeUninitialized: shape)
    LinearProduct(rows: rows, inputs: inputs, outputs: outputs).forward(
        x, weight, bias, residual, into: output)
    let (input, matrix) = (x.detached(), SavedTensor(weight))
    let parameters = [x, weight] + [bias, residual].compactMap { $0 }
    let needs = parameters.map { $0.node != nil }
    let (hasBias, hasResidual) = (bias != nil, residual != nil)
    return .custom("linear", inputs: parameters, output: output) { g in
        let product = LinearProduct(rows: rows, inputs: inputs, outputs: outputs)
        var shares: [Tensor?] = [
            needs[0]
                ? product.gradientOfInput(g, matrix.values(), keepsForm: !needs[1], shape: input.shape) : nil,
            needs[1] ? product.gradientOfWeight(g, input) : nil,
        ]
        if hasBias { shares.append(needs[2] ? g.reshaped([rows, outputs]).sum(axes: [0]) : nil) }
        if hasResidual { shares.append(g) }
        return shares
    }
}

/// The sizes of x Wᵀ and the three products of its forward and backward passes.
private struct LinearProduct: Sendable {
    let rows, inputs, outputs: Int

    /// Up to one vector of rows, the weight is read once in place and x is packed instead.
    private var isNarrow: Bool { rows <= kernels.vector_width }

    func forward(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?, _ residual: Tensor?, into output: Tensor) {
        guard rows > 0, outputs > 0 else { return }
        if isNarrow {
            forwardTransposed(x, weight, bias, residual, into: output)
            return
        }
        let floats = PanelMatrix.floats(depth: inputs, columns: outputs)
        let storage = weight.packed(.linear(outputs: outputs, inputs: inputs), floats: floats) {
            PanelMatrix(transposed: weight).storage
        }
        PanelMatrix(storage, depth: inputs, columns: outputs).product(
            rows: rows, LeftOperand(x.pointer, row: inputs), into: output.pointer, row: outputs,
            ProductStart(
                columnBias: bias.map { UnsafePointer($0.pointer) },
                addend: residual.map { UnsafePointer($0.pointer) }))
    }

    /// outputᵀ = W xᵀ, turned as it is stored.
    private func forwardTransposed(
        _ x: Tensor, _ weight: Tensor, _ bias: Tensor?, _ residual: Tensor?, into output: Tensor
    ) {
        let packed = PanelMatrix(transposed: x.pointer, columns: rows, depth: inputs, ld: inputs)
        Threads.parallelFor(outputs, grain: max((1 << 14) / max(inputs, 1), 28)) { range in
            let turned = Storage(count: range.count * rows)
            weight.forEachRows(of: range, unit: 28) { part, values in
                packedProduct(
                    rows: part.count, columns: rows, depth: inputs, LeftOperand(values, row: inputs),
                    packed.storage.pointer,
                    into: turned.pointer + (part.lowerBound - range.lowerBound) * rows, row: rows,
                    ProductStart(rowBias: bias.map { UnsafePointer($0.pointer + part.lowerBound) }))
            }
            let to = output.pointer + range.lowerBound
            kernels.transpose(turned.pointer, to, range.count, rows, rows, outputs)
            guard let residual else { return }
            for row in 0..<rows {
                let own = to + row * outputs
                kernels.axpy(1, residual.pointer + range.lowerBound + row * outputs, own, range.count)
            }
        }
    }

    /// g W. `keepsForm`: the weight is frozen, so that its packed form is worth keeping.
    func gradientOfInput(_ g: Tensor, _ weight: Tensor, keepsForm: Bool, shape: [Int]) -> Tensor {
        let gradient = Tensor(unsafeUninitialized: shape)
        guard gradient.count > 0 else { return gradient }
        let floats = PanelMatrix.floats(depth: outputs, columns: inputs)
        let make = { PanelMatrix(weight).storage }
        let storage =
            keepsForm
            ? weight.packed(
                .linearGradient(outputs: outputs, inputs: inputs), floats: floats, make: make) : make()
        PanelMatrix(storage, depth: outputs, columns: inputs).product(
            rows: rows, LeftOperand(g.pointer, row: outputs), into: gradient.pointer, row: inputs)
        return gradient
    }

    /// gᵀ x.
    func gradientOfWeight(_ g: Tensor, _ x: Tensor) -> Tensor {
        let gradient = Tensor(unsafeUninitialized: [outputs, inputs])
        guard gradient.count > 0 else { return gradient }
        PanelMatrix(x.pointer, depth: rows, columns: inputs, ld: inputs).product(
            rows: outputs, .transposed(g.pointer, columns: outputs), into: gradient.pointer, row: inputs)
        return gradient
    }
}

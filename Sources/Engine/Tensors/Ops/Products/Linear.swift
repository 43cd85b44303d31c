// SPDX-License-Identifier: Apache-2.0
// The product of a fully connected layer and its gradients, computed with prepacked panels.
// M rows (tokens), IC/OC channels.

import CKernels

/// `x` `[..., IC]` · `weight` `[OC, IC]`ᵀ + `bias` `[OC]` + `residual` `[..., OC]` → `[..., OC]`.
public func linear(_ x: Tensor, weight: Tensor, bias: Tensor?, residual: Tensor? = nil) -> Tensor {
    let product = LinearProduct(
        x, weightShape: weight.shape, bias, residual, precision: ProductPrecision.current)
    let output = Tensor(unsafeUninitialized: product.outputShape)
    product.forward(x, weight, bias, residual, into: output)
    let (input, matrix) = (x.detached(), SavedTensor(weight))
    let parameters = [x, weight] + [bias, residual].compactMap { $0 }
    let needs = parameters.map { $0.node != nil }
    let (hasBias, hasResidual) = (bias != nil, residual != nil)
    return .custom("linear", inputs: parameters, output: output) { g in
        var gradients: [Tensor?] = [
            needs[0]
                ? product.gradientOfInput(g, matrix.values(), isFrozen: !needs[1], shape: input.shape) : nil,
            needs[1] ? product.gradientOfWeight(g, input) : nil,
        ]
        if hasBias {
            gradients.append(needs[2] ? g.reshaped([product.rows, product.outputs]).sum(axes: [0]) : nil)
        }
        if hasResidual { gradients.append(g) }
        return gradients
    }
}

/// The sizes of x Wᵀ, and the three products of its forward and backward passes.
struct LinearProduct: Sendable {
    let rows, inputs, outputs: Int
    let outputShape: [Int]
    /// Float32 or bfloat16.
    let precision: ElementType

    /// - Precondition: the shapes of `linear`: x `[..., IC]`, weight `[OC, IC]`, bias `[OC]`, residual `[..., OC]`.
    init(
        _ x: Tensor, weightShape: [Int], _ bias: Tensor?, _ residual: Tensor?, precision: ElementType = .float32
    ) {
        precondition(
            weightShape.count == 2 && x.rank > 0 && x.shape[x.rank - 1] == weightShape[1],
            "linear: x \(x.shape) · weight \(weightShape)ᵀ: inner dimensions differ")
        (outputs, inputs) = (weightShape[0], weightShape[1])
        if let bias { precondition(bias.shape == [outputs], "linear: bias \(bias.shape) for \(outputs) outputs") }
        outputShape = Array(x.shape.dropLast()) + [outputs]
        if let residual {
            precondition(
                residual.shape == outputShape, "linear: residual \(residual.shape) for outputs \(outputShape)")
        }
        rows = outputShape.dropLast().reduce(1, *)
        self.precision = precision
    }

    /// With at most one vector of rows, the weight is read once in place and x is prepacked instead.
    private var isNarrow: Bool { rows <= kernels.vector_width }

    /// Whether operands are rounded to bfloat16. The few rows of narrow products would not repay it.
    private var isBFloat: Bool { precision == .bfloat16 && !isNarrow }

    func forward(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?, _ residual: Tensor?, into output: Tensor) {
        guard rows > 0, outputs > 0 else { return }
        if isNarrow {
            forwardTransposed(x, weight, bias, residual, into: output)
            return
        }
        let start = ProductStart(
            columnBias: bias.map { UnsafePointer($0.pointer) }, addend: residual.map { UnsafePointer($0.pointer) })
        let depth = isBFloat ? BFloatWords.count(inputs) : inputs
        let storage = weight.prepacked(
            .linear(outputs: outputs, inputs: inputs, isBFloat: isBFloat),
            floats: PanelMatrix.floats(depth: depth, columns: outputs)
        ) { isBFloat ? PanelMatrix(bfloatTransposed: weight).storage : PanelMatrix(transposed: weight).storage }
        let panels = PanelMatrix(storage, depth: depth, columns: outputs, isBFloat: isBFloat)
        let words = isBFloat ? BFloatWords.rows(x.pointer, rows: rows, columns: inputs) : nil
        panels.product(
            rows: rows, LeftOperand(words?.pointer ?? x.pointer, row: depth), into: output.pointer, row: outputs, start)
        withExtendedLifetime(words) {}
    }

    /// outputᵀ = W xᵀ, transposed when it is stored.
    private func forwardTransposed(
        _ x: Tensor, _ weight: Tensor, _ bias: Tensor?, _ residual: Tensor?, into output: Tensor
    ) {
        let panels = PanelMatrix(transposed: x.pointer, columns: rows, depth: inputs, ld: inputs)
        Threads.parallelFor(outputs, grain: max((1 << 14) / max(inputs, 1), 28)) { range in
            let transposed = Storage(count: range.count * rows)
            weight.forEachRows(of: range, unit: 28) { part, values in
                panelProduct(
                    rows: part.count, columns: rows, depth: inputs, LeftOperand(values, row: inputs),
                    panels.storage.pointer,
                    into: transposed.pointer + (part.lowerBound - range.lowerBound) * rows, row: rows,
                    ProductStart(rowBias: bias.map { UnsafePointer($0.pointer + part.lowerBound) }))
            }
            let target = output.pointer + range.lowerBound
            kernels.transpose(transposed.pointer, target, range.count, rows, rows, outputs)
            guard let residual else { return }
            for row in 0..<rows {
                let addend = residual.pointer + range.lowerBound + row * outputs
                kernels.axpy(1, addend, target + row * outputs, range.count)
            }
        }
    }

    /// g W. `isFrozen`: the weight is not trained, so that its prepacked panels are cached.
    func gradientOfInput(_ g: Tensor, _ weight: Tensor, isFrozen: Bool, shape: [Int]) -> Tensor {
        let gradient = Tensor(unsafeUninitialized: shape)
        guard gradient.count > 0 else { return gradient }
        let depth = isBFloat ? BFloatWords.count(outputs) : outputs
        let make = { isBFloat ? PanelMatrix(bfloat: weight).storage : PanelMatrix(weight).storage }
        let storage =
            isFrozen
            ? weight.prepacked(
                .linearGradient(outputs: outputs, inputs: inputs, isBFloat: isBFloat),
                floats: PanelMatrix.floats(depth: depth, columns: inputs), make: make) : make()
        let words = isBFloat ? BFloatWords.rows(g.pointer, rows: rows, columns: outputs) : nil
        PanelMatrix(storage, depth: depth, columns: inputs, isBFloat: isBFloat).product(
            rows: rows, LeftOperand(words?.pointer ?? g.pointer, row: depth), into: gradient.pointer, row: inputs)
        withExtendedLifetime(words) {}
        return gradient
    }

    /// gᵀ x.
    func gradientOfWeight(_ g: Tensor, _ x: Tensor) -> Tensor {
        let gradient = Tensor(unsafeUninitialized: [outputs, inputs])
        guard gradient.count > 0 else { return gradient }
        if isBFloat {
            let words = BFloatWords.pairsOfRows(g.pointer, rows: rows, columns: outputs)
            PanelMatrix(bfloat: x.reshaped([rows, inputs])).product(
                rows: outputs, .transposed(words.pointer, columns: outputs), into: gradient.pointer, row: inputs)
            withExtendedLifetime(words) {}
        } else {
            PanelMatrix(x.pointer, depth: rows, columns: inputs, ld: inputs).product(
                rows: outputs, .transposed(g.pointer, columns: outputs), into: gradient.pointer, row: inputs)
        }
        return gradient
    }
}

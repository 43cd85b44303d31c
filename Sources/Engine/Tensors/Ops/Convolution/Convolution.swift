// SPDX-License-Identifier: Apache-2.0
// 2-D convolution (NCHW, OIHW) with optional terms that are added when its outputs are stored, and its gradients.
// N images, IC/OC channels, H W input, OH OW output.

import CKernels

/// `x` `[N, IC, H, W]` ∗ `weight` `[OC, IC, KH, KW]` + `bias` `[OC]` → `[N, OC, OH, OW]` (cross-correlation, as in
/// PyTorch).
///
/// `channelBias` `[N, OC]`, or `[1, OC]` for all images, is added to every pixel of a channel (a time embedding).
/// `residual` `[N, OC, OH, OW]` is added elementwise.
public func conv2d(
    _ x: Tensor, weight: Tensor, bias: Tensor?, stride: Int = 1, padding: Padding = 0, channelBias: Tensor? = nil,
    residual: Tensor? = nil
) -> Tensor {
    let geometry = ConvolutionGeometry(x.shape, weight.shape, stride: stride, padding: padding)
    let batch = geometry.batch
    let epilogue = ConvolutionEpilogue(checking: geometry, bias, channelBias, residual)
    let output = geometry.forward(x, weight, epilogue)
    let (input, kernel) = (x.detached(), SavedTensor(weight))
    let inputs = [x, weight] + [bias, channelBias, residual].compactMap { $0 }
    let needs = inputs.map { $0.node != nil }
    let (hasBias, images) = (bias != nil, channelBias?.shape[0])
    return .custom("conv2d", inputs: inputs, output: output) { g in
        var gradients: [Tensor?] = [
            needs[0] ? geometry.gradientOfInput(g, kernel.values(), isFrozen: !needs[1]) : nil,
            needs[1] ? geometry.gradientOfWeight(g, input) : nil,
        ]
        let needsSums = hasBias && needs[2] || images != nil && needs[hasBias ? 3 : 2]
        let perImage = needsSums ? g.sum(axes: [2, 3]) : nil
        if hasBias { gradients.append(needs[2] ? perImage?.sum(axes: [0]) : nil) }
        if let images {
            gradients.append(
                needs[gradients.count]
                    ? (images == batch ? perImage : perImage?.sum(axes: [0], keepDims: true)) : nil)
        }
        if gradients.count < needs.count { gradients.append(g) }
        return gradients
    }
}

extension ConvolutionGeometry {
    func forward(_ x: Tensor, _ weight: Tensor, _ epilogue: ConvolutionEpilogue) -> Tensor {
        let output = Tensor(unsafeUninitialized: outputShape)
        guard output.count > 0 else { return output }
        switch ConvolutionAlgorithm.forForward(self, isWeightCached: weight.isPrepackedOnce) {
        case .winograd(let m):
            let factors = WinogradWeight(m, outputs: outputs, inputs: inputs).factors(of: weight)
            WinogradConvolution(self, m).forward(x, factors, epilogue, into: output)
        case .columns: ColumnConvolution(self).forward(x, weight, epilogue, into: output)
        }
        return output
    }

    /// `isFrozen`: `weight` is not trained, so that its transform is cached.
    func gradientOfInput(_ g: Tensor, _ weight: Tensor, isFrozen: Bool) -> Tensor {
        guard let reversed else { return ColumnConvolution(self).gradientOfInputByColumns(g, weight) }
        let isCached = isFrozen && weight.isPrepackedOnce
        let algorithm = ConvolutionAlgorithm.forForward(reversed, isWeightCached: isCached)
        // Rotating a weight larger than the images costs more than adding their columns.
        if algorithm == .columns, outputs > batch * outputPlane {
            return ColumnConvolution(self).gradientOfInputByColumns(g, weight)
        }
        let gx = Tensor(unsafeUninitialized: inputShape)
        guard gx.count > 0 else { return gx }
        switch algorithm {
        case .winograd(let m):
            let factors = WinogradWeight(m, outputs: outputs, inputs: inputs).rotatedFactors(
                of: weight, isCached: isCached)
            WinogradConvolution(reversed, m).forward(g, factors, .init(), into: gx)
        case .columns:
            ColumnConvolution(reversed).forward(g, rotated(weight), .init(), into: gx)
        }
        return gx
    }

    func gradientOfWeight(_ g: Tensor, _ x: Tensor) -> Tensor {
        let gradient = Tensor(unsafeUninitialized: weightShape)
        guard gradient.count > 0 else { return gradient }
        guard batch > 0 else { return .zeros(weightShape) }
        switch ConvolutionAlgorithm.forWeightGradient(self) {
        case .winograd(let m): WinogradConvolution(self, m).gradientOfWeight(g, x, into: gradient)
        case .columns: ColumnConvolution(self).gradientOfWeight(g, x, into: gradient)
        }
        return gradient
    }

    /// `weight` `[OC, IC, KH, KW]` with channels exchanged and each kernel rotated by 180 degrees: `[IC, OC, KH, KW]`.
    private func rotated(_ weight: Tensor) -> Tensor {
        let area = kernelArea
        let filters = weight.pointer
        let rotated = Tensor(unsafeUninitialized: [inputs, outputs, weightShape[2], weightShape[3]])
        if area == 1 {
            Threads.parallelFor(inputs, grain: Threads.rowGrain(outputs)) { range in
                kernels.transpose(
                    filters + range.lowerBound, rotated.pointer + range.lowerBound * outputs, outputs,
                    range.count, inputs, outputs)
            }
            return rotated
        }
        Threads.parallelFor(inputs, grain: Threads.rowGrain(outputs * area)) { range in
            for input in range {
                for output in 0..<outputs {
                    let from = filters + (output * inputs + input) * area
                    let to = rotated.pointer + (input * outputs + output) * area
                    for tap in 0..<area { to[tap] = from[area - 1 - tap] }
                }
            }
        }
        return rotated
    }
}

// SPDX-License-Identifier: Apache-2.0
// Two-dimensional convolution, as torch.nn.Conv2d with square kernels: layout NCHW, weights OIHW.
// IC/OC input/output channels, K kernel size, H W input size, OH OW output size.

import Tensors

/// A convolution with keys `weight` `[OC, IC, K, K]` and, unless it has none, `bias` `[OC]`.
public final class Conv2d: AdaptableLayer {
    public let path: String
    public var weight: any WeightSource {
        didSet { preconditionSameShape(path, oldValue, weight) }
    }
    public let bias: Parameter?
    public var branch: LowRankBranch? {
        didSet { preconditionFits(path, branch, weight) }
    }
    /// Step between two output pixels, in input pixels.
    public let stride: Int
    /// Zeros added around the input.
    public let padding: Padding

    /// Reads `weight` and, where `bias` is true, `bias` below `parameters`.
    ///
    /// - Throws: the provider's error, or `ParameterError.shapeMismatch`.
    public init(
        _ parameters: ParameterPath, in inputs: Int, out outputs: Int, kernel: Int, stride: Int = 1,
        padding: Padding = Padding(0), bias: Bool = true
    ) throws {
        path = parameters.path
        self.stride = stride
        self.padding = padding
        weight = try parameters.weight(
            "weight", shape: [outputs, inputs, kernel, kernel],
            initializer: .gaussianFanIn(inputs * kernel * kernel))
        self.bias =
            bias
            ? try parameters.unregisteredParameter("bias", shape: [outputs], initializer: .zeros) : nil
        parameters.store.register(self)
    }

    /// `x` `[B, IC, H, W]` -> `[B, OC, OH, OW]`, with `OH = (H + padding - K) / stride + 1`, rounded down.
    ///
    /// `channelBias` `[B or 1, OC]` is added to whole channels and `residual` `[B, OC, OH, OW]` to every value, as
    /// outputs are stored. `padding` replaces that of the layer, for parts of an image.
    public func callAsFunction(
        _ x: Tensor, channelBias: Tensor? = nil, residual: Tensor? = nil, padding: Padding? = nil
    ) -> Tensor {
        let padding = padding ?? self.padding
        let result = product(x, channelBias, residual, padding)
        guard let branch else { return result }
        let ranks = conv2d(x, weight: branch.down, bias: nil, stride: stride, padding: padding)
        let up = branch.up.reshaped(branch.up.shape + [1, 1])
        return conv2d(ranks, weight: up, bias: nil, residual: result)
    }

    private func product(_ x: Tensor, _ channelBias: Tensor?, _ residual: Tensor?, _ padding: Padding) -> Tensor {
        let bias = bias?.tensor()
        if let integer = weight.integer, !needsGradient(x, bias, channelBias, residual) {
            return conv2d(
                x, weight: integer, bias: bias, stride: stride, padding: padding, channelBias: channelBias,
                residual: residual)
        }
        return conv2d(
            x, weight: weight.lazyTensor(), bias: bias, stride: stride, padding: padding,
            channelBias: channelBias, residual: residual)
    }
}

// SPDX-License-Identifier: Apache-2.0
// The precision of the matrix products of linear layers in training, as of PyTorch's autocast: operands are rounded to
// bfloat16, sums and results are Float32.

import Foundation

/// The precision of matrix products.
public enum ProductPrecision {
    @TaskLocal static var current = ElementType.float32

    /// The time of a product with operands in bfloat16 relative to one in Float32, roundings included, measured once:
    /// below 1 on processors with AVX-512 BF16, above 1 on others.
    public static let bfloat16Time: Double = {
        let (rows, inputs, outputs) = (512, 640, 640)
        let x = Tensor((0..<rows * inputs).map { Float($0 % 7) - 3 }, shape: [rows, inputs])
        let weight = Tensor((0..<outputs * inputs).map { Float($0 % 5) - 2 }, shape: [outputs, inputs])
        func seconds(_ type: ElementType) -> Double {
            let product = LinearProduct(x, weightShape: weight.shape, nil, nil, precision: type)
            let output = Tensor(unsafeUninitialized: product.outputShape)
            return (0..<5).map { _ in
                let start = DispatchTime.now().uptimeNanoseconds
                product.forward(x, weight, nil, nil, into: output)
                return Double(DispatchTime.now().uptimeNanoseconds - start)
            }.min() ?? 0
        }
        return seconds(.bfloat16) / max(seconds(.float32), 1)
    }()
}

/// Runs `body` with the products of linear layers in `precision`, in forward passes and in the backward passes of the
/// tensors that they compute.
///
/// - Precondition: `precision` is not float16.
public func withProductPrecision<R>(_ precision: ElementType, _ body: () throws -> R) rethrows -> R {
    precondition(precision != .float16, "withProductPrecision: float16")
    return try ProductPrecision.$current.withValue(precision, operation: body)
}

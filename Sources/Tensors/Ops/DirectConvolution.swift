// SPDX-License-Identifier: Apache-2.0
// 3x3 convolutions with stride 1 and padding 1 on the direct kernels: no column matrix, weights packed once a call.
// B images, IC/OC channels, H W space.

import CKernels

/// The direct path of one convolution shape.
struct DirectConvolution: Sendable {
    let batch, inputs, outputs, height, width: Int
    private let padded: bf_padded

    /// Packed weights of a block of output channels should stay in the second-level cache.
    private static let packedBudget = 256 << 10

    /// Whether the direct kernels are the faster choice.
    static func suits(inputs: Int, outputs: Int, width: Int) -> Bool {
        let vector = kernels.vector_width
        let used = Double(width) / Double((width + vector - 1) / vector * vector)
        return used >= 0.75 && max(inputs, outputs) * 9 * kernels.conv_block * 4 <= packedBudget
    }

    init(batch: Int, inputs: Int, outputs: Int, height: Int, width: Int) {
        (self.batch, self.inputs, self.outputs, self.height, self.width) = (
            batch, inputs, outputs, height, width
        )
        let vector = kernels.vector_width
        let pitch = (width + vector - 1) / vector * vector + 2
        // Sixteen floats more a plane: a vector load at the last tap of the last row may run past the border.
        padded = bf_padded(
            plane: pitch * (height + 2) + vector, pitch: pitch, height: Int32(height), width: Int32(width))
    }

    /// `x` `[B, IC, H, W]` ∗ `weight` `[OC, IC, 3, 3]` + `bias` → `output` `[B, OC, H, W]`.
    func forward(_ x: Tensor, _ weight: Tensor, _ bias: Tensor?, isFlipped: Bool, into output: Tensor) {
        let blocks = (outputs + kernels.conv_block - 1) / kernels.conv_block
        let packed = Storage(count: blocks * kernels.conv_block * inputs * 9)
        kernels.pack_conv3x3(weight.pointer, packed.pointer, outputs, inputs, isFlipped)
        if batch >= Threads.count {
            Threads.parallelFor(batch) { images in
                let planes = Storage(count: inputs * padded.plane)
                for image in images {
                    kernels.pad_planes(
                        x.pointer + image * inputs * height * width, planes.pointer, padded, inputs)
                    kernels.conv3x3(
                        planes.pointer, padded, packed.pointer, bias?.pointer,
                        output.pointer + image * outputs * height * width, inputs, outputs, 0, Int32(height))
                }
            }
            return
        }
        for image in 0..<batch {
            let planes = pad(x.pointer + image * inputs * height * width, planes: inputs)
            Threads.parallelFor(height) { rows in
                kernels.conv3x3(
                    planes.pointer, padded, packed.pointer, bias?.pointer,
                    output.pointer + image * outputs * height * width, inputs, outputs,
                    Int32(rows.lowerBound),
                    Int32(rows.count))
            }
        }
    }

    /// Whether `gradientOfWeight` takes this shape: whole vectors and enough channels for a register block.
    var hasWeightGradient: Bool { width % kernels.vector_width == 0 && outputs >= kernels.conv_grad_block }

    /// The gradient of the weight `[OC, IC, 3, 3]` from `g` `[B, OC, H, W]`; each output channel belongs to one task
    /// and its sums run over the images in order.
    func gradientOfWeight(_ g: Tensor, _ x: Tensor) -> Tensor {
        let gradient = Tensor(unsafeUninitialized: [outputs, inputs, 3, 3])
        let planes = pad(x.pointer, planes: batch * inputs)
        let grain = kernels.conv_grad_block
        Threads.parallelFor(outputs, grain: grain) { range in
            // The last range may be shorter than a block; it then takes channels of its neighbour's again, unseen.
            let first = min(range.lowerBound, outputs - grain)
            let own = Tensor(unsafeUninitialized: [range.upperBound - first, inputs, 3, 3])
            kernels.conv3x3_weight_grad(
                planes.pointer, padded, inputs * padded.plane, g.pointer + first * height * width,
                outputs * height * width, batch, own.pointer, inputs, 0, range.upperBound - first)
            let skipped = (range.lowerBound - first) * inputs * 9
            (gradient.pointer + range.lowerBound * inputs * 9)
                .update(from: own.pointer + skipped, count: range.count * inputs * 9)
        }
        return gradient
    }

    private func pad(_ x: UnsafePointer<Float>, planes count: Int) -> Storage {
        let storage = Storage(count: count * padded.plane)
        let perPlane = height * width
        Threads.parallelFor(count, grain: max(elementwiseGrain / max(perPlane, 1), 1)) { range in
            kernels.pad_planes(
                x + range.lowerBound * perPlane, storage.pointer + range.lowerBound * padded.plane, padded,
                range.count)
        }
        return storage
    }
}

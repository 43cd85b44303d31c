// SPDX-License-Identifier: Apache-2.0
// Nearest-neighbor resizing of images.

import CKernels

extension Tensor {
    /// `[N, C, H, W]` → `[N, C, 2H, 2W]`, each pixel repeated four times.
    public func upsampledNearest2x() -> Tensor {
        precondition(rank == 4, "upsampledNearest2x: \(shape) is not [N, C, H, W]")
        let (planes, height, width) = (shape[0] * shape[1], shape[2], shape[3])
        let inputShape = shape
        let output = Tensor(unsafeUninitialized: [inputShape[0], inputShape[1], 2 * height, 2 * width])
        let grain = Threads.rowGrain(4 * height * width)
        Threads.parallelFor(planes, grain: grain) { range in
            let start = range.lowerBound * height * width
            kernels.upsample2x(pointer + start, output.pointer + 4 * start, range.count, height, width)
        }
        return .custom("upsampleNearest2x", inputs: [self], output: output) { g in
            let gx = Tensor(unsafeUninitialized: inputShape)
            Threads.parallelFor(planes, grain: grain) { range in
                let start = range.lowerBound * height * width
                kernels.upsample2x_grad(g.pointer + 4 * start, gx.pointer + start, range.count, height, width)
            }
            return [gx]
        }
    }

    /// `[N, C, H, W]` → `[N, C, height, width]`; pixel (y, x) is source pixel (⌊y·H/height⌋, ⌊x·W/width⌋), as in
    /// PyTorch.
    public func upsampledNearest(toHeight height: Int, width: Int) -> Tensor {
        precondition(rank == 4, "upsampledNearest: \(shape) is not [N, C, H, W]")
        let (h, w) = (shape[2], shape[3])
        if height == 2 * h && width == 2 * w { return upsampledNearest2x() }
        let inputShape = shape
        let rows = (0..<height).map { $0 * h / height }, columns = (0..<width).map { $0 * w / width }
        let output = Tensor(unsafeUninitialized: [shape[0], shape[1], height, width])
        let source = pointer
        let grain = Threads.rowGrain(height * width)
        Threads.parallelFor(shape[0] * shape[1], grain: grain) { planes in
            for plane in planes {
                for (y, sourceY) in rows.enumerated() {
                    let from = source + (plane * h + sourceY) * w
                    let to = output.pointer + (plane * height + y) * width
                    columns.withUnsafeBufferPointer { for x in 0..<width { to[x] = from[$0[x]] } }
                }
            }
        }
        return .custom("upsampleNearest", inputs: [self], output: output) { g in
            let gx = Tensor.zeros(inputShape)
            Threads.parallelFor(inputShape[0] * inputShape[1], grain: grain) { planes in
                for plane in planes {
                    for (y, sourceY) in rows.enumerated() {
                        let to = gx.pointer + (plane * h + sourceY) * w
                        let from = g.pointer + (plane * height + y) * width
                        columns.withUnsafeBufferPointer { for x in 0..<width { to[$0[x]] += from[x] } }
                    }
                }
            }
            return [gx]
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// The gradient of a 3x3 kernel by Winograd's algorithm: the transposes of the forward transforms around one product over
// the tiles for each of the (m + 2)² places. Sums run over the tiles in order, whatever the number of threads.
// N images, IC/OC channels, T tiles of a block.

import CKernels

extension WinogradConvolution {
    /// Floats of transformed inputs and gradients of a block of tiles; floats of a panel's transform at a time.
    private static let blockBudget = 1 << 20
    /// Tiles transformed at a time before they are turned into panels.
    private static let turnedTiles = 64
    /// Output channels of one task.
    private static let gradientBand = 84

    /// `g` `[N, OC, OH, OW]`, `x` `[N, IC, H, W]` → `gradient` `[OC, IC, 3, 3]`.
    func gradientOfWeight(_ g: Tensor, _ x: Tensor, into gradient: Tensor) {
        let (inputs, outputs) = (geometry.inputs, geometry.outputs)
        let fitting = Self.blockBudget / (products * (inputs + outputs)) / Self.turnedTiles
        let perBlock = min(max(fitting, 1) * Self.turnedTiles, tiles)
        let packedInputs = PackedMatrix.floats(depth: 1, columns: inputs)
        let perSum = Self.spread(outputs * inputs)
        let sums = Storage(count: products * perSum)
        let factors = Storage(count: products * packedInputs * perBlock)
        let gradients = Storage(count: products * Self.spread(outputs * paddedColumns(perBlock)))
        for first in stride(from: 0, to: tiles, by: perBlock) {
            let range = first..<min(first + perBlock, tiles)
            transformAndTurn(range, x, packedInputs, into: factors)
            transformGradient(range, g, into: gradients)
            let columns = paddedColumns(range.count)
            let bands = (outputs + Self.gradientBand - 1) / Self.gradientBand
            Threads.parallelFor(products * bands) { tasks in
                for task in tasks {
                    let (product, first) = (task / bands, task % bands * Self.gradientBand)
                    packedProduct(
                        rows: min(Self.gradientBand, outputs - first), columns: inputs, depth: range.count,
                        LeftOperand(
                            gradients.pointer + product * Self.spread(outputs * columns) + first * columns,
                            row: columns),
                        factors.pointer + product * packedInputs * range.count,
                        into: sums.pointer + product * perSum + first * inputs, row: inputs,
                        ProductStart(accumulates: range.lowerBound > 0))
                }
            }
        }
        Threads.parallelFor(outputs, grain: max((1 << 12) / inputs, 1)) { rows in
            kernels.winograd_weights_grad(
                Int32(m), sums.pointer + rows.lowerBound * inputs,
                gradient.pointer + rows.lowerBound * inputs * 9, rows.count, inputs, perSum)
        }
    }

    /// Pixels of `range`'s tiles to panels [product][IC panel][T][IC of the panel].
    private func transformAndTurn(
        _ range: Range<Int>, _ x: Tensor, _ packedInputs: Int, into factors: Storage
    ) {
        let (inputs, panel) = (geometry.inputs, PackedMatrix.panel)
        let parts = (range.count + Self.turnedTiles - 1) / Self.turnedTiles
        let panels = (inputs + panel - 1) / panel
        let perProduct = Self.spread(panel * Self.turnedTiles)
        Threads.parallelFor(panels * parts) { tasks in
            let rows = Storage(count: products * perProduct)
            for task in tasks {
                let first = task / parts * panel
                let own = first..<min(first + panel, inputs)
                let width = PackedMatrix.floats(depth: 1, columns: own.count)
                let start = range.lowerBound + task % parts * Self.turnedTiles
                let part = start..<min(start + Self.turnedTiles, range.upperBound)
                let place = placement(
                    part, imageStep: inputs * geometry.inputPlane, product: perProduct,
                    channel: Self.turnedTiles, panel: panel)
                transform(place, x.pointer, own, into: rows.pointer)
                for product in 0..<products {
                    kernels.pack_transposed(
                        rows.pointer + product * perProduct, own.count, part.count, Self.turnedTiles,
                        factors.pointer + product * packedInputs * range.count + first * range.count
                            + (start - range.lowerBound) * width)
                }
            }
        }
    }

    /// Gradients of `range`'s tiles to [product][OC][T].
    private func transformGradient(_ range: Range<Int>, _ g: Tensor, into gradients: Storage) {
        let outputs = geometry.outputs
        let columns = paddedColumns(range.count)
        let place = placement(
            range, imageStep: outputs * geometry.outputPlane, product: Self.spread(outputs * columns),
            channel: columns,
            panel: PackedMatrix.panel)
        Threads.parallelFor(outputs, grain: 8) { channels in
            var own = place
            kernels.winograd_output_grad(
                &own, g.pointer + channels.lowerBound * geometry.outputPlane, channels.count,
                gradients.pointer + channels.lowerBound * columns)
        }
    }
}

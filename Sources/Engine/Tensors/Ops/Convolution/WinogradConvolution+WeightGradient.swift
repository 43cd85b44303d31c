// SPDX-License-Identifier: Apache-2.0
// The gradient of a 3x3 kernel by Winograd's algorithm: the transposes of the forward transforms around one product over
// the tiles for each of the (m + 2)² places. Sums run over the tiles in order, whatever the number of threads.
// N images, IC/OC channels, T tiles of a block.

import CKernels

extension WinogradConvolution {
    /// Floats of transformed inputs and gradients that may lie in the last cache, and of those of one block where all do
    /// not fit.
    private static let wholeBudget = 8 << 20, blockBudget = 1 << 20
    /// Tiles transformed at a time before they are turned into panels.
    private static let turnedTiles = 64
    /// Output channels of one task.
    private static let gradientBand = 84
    /// Tasks that share out the work evenly.
    private static let manyTasks = 16

    /// `g` `[N, OC, OH, OW]`, `x` `[N, IC, H, W]` → `gradient` `[OC, IC, 3, 3]`.
    func gradientOfWeight(_ g: Tensor, _ x: Tensor, into gradient: Tensor) {
        let (inputs, outputs) = (geometry.inputs, geometry.outputs)
        let isTiled = Self.sharesOutKernel(products: products, tiles: tiles, inputs: inputs, outputs: outputs)
        let fitting = Self.blockBudget / (products * (inputs + outputs)) / Self.turnedTiles
        let perBlock = isTiled ? tiles : min(max(fitting, 1) * Self.turnedTiles, tiles)
        let block = GradientBlock(
            factors: Storage(
                count: products * PanelMatrix.floats(depth: 1, columns: inputs) * perBlock),
            gradients: Storage(count: products * Self.spread(outputs * paddedColumns(perBlock))))
        let bands = (outputs + Self.gradientBand - 1) / Self.gradientBand
        if isTiled {
            transform(0..<tiles, g, x, into: block)
            Threads.parallelFor(Self.panels(inputs) * bands) { tasks in
                for task in tasks { computeTile(task / bands, task % bands, block, into: gradient) }
            }
            return
        }
        let perSum = Self.spread(outputs * inputs)
        let sums = Storage(count: products * perSum)
        for first in stride(from: 0, to: tiles, by: perBlock) {
            let range = first..<min(first + perBlock, tiles)
            transform(range, g, x, into: block)
            Threads.parallelFor(products * bands) { tasks in
                for task in tasks {
                    let (product, first) = (task / bands, task % bands * Self.gradientBand)
                    let rows = first..<min(first + Self.gradientBand, outputs)
                    multiply(
                        product, rows, 0..<inputs, tiles: range.count, block,
                        into: sums.pointer + product * perSum + first * inputs, row: inputs,
                        accumulates: range.lowerBound > 0)
                }
            }
        }
        Threads.parallelFor(outputs, grain: max((1 << 12) / inputs, 1)) { rows in
            kernels.winograd_weights_grad(
                Int32(m), sums.pointer + rows.lowerBound * inputs,
                gradient.pointer + rows.lowerBound * inputs * 9, rows.count, inputs, perSum)
        }
    }

    /// Whether each task takes a part of the kernel, and all tiles: their sums then never lie in memory.
    static func sharesOutKernel(products: Int, tiles: Int, inputs: Int, outputs: Int) -> Bool {
        let bands = (outputs + gradientBand - 1) / gradientBand
        return products * (inputs + outputs) * tiles <= wholeBudget && panels(inputs) * bands >= manyTasks
    }

    private static func panels(_ inputs: Int) -> Int {
        (inputs + PanelMatrix.panel - 1) / PanelMatrix.panel
    }

    /// The transforms of a block of T tiles.
    private struct GradientBlock {
        /// Of the inputs: [product][IC panel][T][IC of the panel].
        let factors: Storage
        /// Of the outputs' gradients: [product][OC][T].
        let gradients: Storage
    }

    /// One panel of input channels by one band of output channels, from all tiles: its sums go back to kernels while they
    /// are still in the second-level cache, where those of a large weight would travel to memory and back.
    private func computeTile(_ panel: Int, _ band: Int, _ block: GradientBlock, into gradient: Tensor) {
        let (inputs, outputs) = (geometry.inputs, geometry.outputs)
        let columns = panel * PanelMatrix.panel..<min((panel + 1) * PanelMatrix.panel, inputs)
        let rows = band * Self.gradientBand..<min((band + 1) * Self.gradientBand, outputs)
        let perSum = Self.spread(rows.count * columns.count)
        let sums = Storage(count: products * perSum)
        for product in 0..<products {
            multiply(
                product, rows, columns, tiles: tiles, block, into: sums.pointer + product * perSum,
                row: columns.count, accumulates: false)
        }
        for row in rows {
            kernels.winograd_weights_grad(
                Int32(m), sums.pointer + (row - rows.lowerBound) * columns.count,
                gradient.pointer + (row * inputs + columns.lowerBound) * 9, 1, columns.count, perSum)
        }
    }

    /// `rows` (output channels) by `columns` (input channels, from a panel on) of one product over the block's tiles.
    private func multiply(
        _ product: Int, _ rows: Range<Int>, _ columns: Range<Int>, tiles: Int, _ block: GradientBlock,
        into sums: UnsafeMutablePointer<Float>, row: Int, accumulates: Bool
    ) {
        let padded = paddedColumns(tiles)
        let packedInputs = PanelMatrix.floats(depth: 1, columns: geometry.inputs)
        packedProduct(
            rows: rows.count, columns: columns.count, depth: tiles,
            LeftOperand(
                block.gradients.pointer + product * Self.spread(geometry.outputs * padded)
                    + rows.lowerBound * padded, row: padded),
            block.factors.pointer + (product * packedInputs + columns.lowerBound) * tiles, into: sums,
            row: row, ProductStart(accumulates: accumulates))
    }

    private func transform(_ range: Range<Int>, _ g: Tensor, _ x: Tensor, into block: GradientBlock) {
        transformAndTurn(
            range, x, PanelMatrix.floats(depth: 1, columns: geometry.inputs), into: block.factors)
        transformGradient(range, g, into: block.gradients)
    }

    /// Pixels of `range`'s tiles to panels [product][IC panel][T][IC of the panel].
    private func transformAndTurn(
        _ range: Range<Int>, _ x: Tensor, _ packedInputs: Int, into factors: Storage
    ) {
        let (inputs, panel) = (geometry.inputs, PanelMatrix.panel)
        let parts = (range.count + Self.turnedTiles - 1) / Self.turnedTiles
        let panels = (inputs + panel - 1) / panel
        let perProduct = Self.spread(panel * Self.turnedTiles)
        Threads.parallelFor(panels * parts) { tasks in
            let rows = Storage(count: products * perProduct)
            for task in tasks {
                let first = task / parts * panel
                let own = first..<min(first + panel, inputs)
                let width = PanelMatrix.floats(depth: 1, columns: own.count)
                let start = range.lowerBound + task % parts * Self.turnedTiles
                let part = start..<min(start + Self.turnedTiles, range.upperBound)
                let place = placement(
                    part, imageStep: inputs * geometry.inputPlane, product: perProduct,
                    channel: Self.turnedTiles, panel: panel)
                transform(place, x.pointer, own, into: rows.pointer)
                for product in 0..<products {
                    kernels.prepack_transposed(
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
            panel: PanelMatrix.panel)
        Threads.parallelFor(outputs, grain: 8) { channels in
            var own = place
            kernels.winograd_output_grad(
                &own, g.pointer + channels.lowerBound * geometry.outputPlane, channels.count,
                gradients.pointer + channels.lowerBound * columns)
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// The gradient of a 3x3 kernel by Winograd's algorithm: (m + 2)² matrix products over the tiles, between the transposes
// of the forward transforms. Sums run over the tiles in a fixed order that does not depend on the number of threads.
// N images, IC/OC channels, T tiles of a block.

import CKernels

extension WinogradConvolution {
    /// Number of floats of transformed inputs and gradients up to which all tiles form one block (they fit into the
    /// last-level cache); otherwise the number of floats of a block.
    private static let singleBlockBudget = 8 << 20, blockBudget = 1 << 20
    /// Number of tiles that are transformed before they are transposed to panels.
    private static let transposedTiles = 64
    /// Number of output channels of a task.
    private static let gradientBand = 84
    /// Minimum number of tasks for a balanced load.
    private static let minTasks = 16

    /// `g` `[N, OC, OH, OW]`, `x` `[N, IC, H, W]` → `gradient` `[OC, IC, 3, 3]`.
    func gradientOfWeight(_ g: Tensor, _ x: Tensor, into gradient: Tensor) {
        let (inputs, outputs) = (geometry.inputs, geometry.outputs)
        let isTiled = Self.tilesGradient(products: products, tiles: tiles, inputs: inputs, outputs: outputs)
        let fitting = Self.blockBudget / (products * (inputs + outputs)) / Self.transposedTiles
        let perBlock = isTiled ? tiles : min(max(fitting, 1) * Self.transposedTiles, tiles)
        let block = GradientBlock(
            factors: Storage(
                count: products * PanelMatrix.floats(depth: 1, columns: inputs) * perBlock),
            gradients: Storage(count: products * Self.paddedStride(outputs * paddedColumns(perBlock))))
        let bands = (outputs + Self.gradientBand - 1) / Self.gradientBand
        if isTiled {
            transform(0..<tiles, g, x, into: block)
            Threads.parallelFor(Self.panels(inputs) * bands) { tasks in
                for task in tasks { computeTile(task / bands, task % bands, block, into: gradient) }
            }
            return
        }
        let perSum = Self.paddedStride(outputs * inputs)
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

    /// Whether each task computes a part of the kernel gradient from all tiles, so that the sums stay in the cache.
    static func tilesGradient(products: Int, tiles: Int, inputs: Int, outputs: Int) -> Bool {
        let bands = (outputs + gradientBand - 1) / gradientBand
        return products * (inputs + outputs) * tiles <= singleBlockBudget && panels(inputs) * bands >= minTasks
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

    /// One panel of input channels by one band of output channels, from all tiles. The sums are transformed to kernels
    /// while they are in the second-level cache; for a large weight, all sums together would not fit.
    private func computeTile(_ panel: Int, _ band: Int, _ block: GradientBlock, into gradient: Tensor) {
        let (inputs, outputs) = (geometry.inputs, geometry.outputs)
        let columns = panel * PanelMatrix.panel..<min((panel + 1) * PanelMatrix.panel, inputs)
        let rows = band * Self.gradientBand..<min((band + 1) * Self.gradientBand, outputs)
        let perSum = Self.paddedStride(rows.count * columns.count)
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

    /// `rows` (output channels) by `columns` (input channels, starting at a panel) of one product over the tiles of a
    /// block.
    private func multiply(
        _ product: Int, _ rows: Range<Int>, _ columns: Range<Int>, tiles: Int, _ block: GradientBlock,
        into sums: UnsafeMutablePointer<Float>, row: Int, accumulates: Bool
    ) {
        let padded = paddedColumns(tiles)
        let paddedInputs = PanelMatrix.floats(depth: 1, columns: geometry.inputs)
        panelProduct(
            rows: rows.count, columns: columns.count, depth: tiles,
            LeftOperand(
                block.gradients.pointer + product * Self.paddedStride(geometry.outputs * padded)
                    + rows.lowerBound * padded, row: padded),
            block.factors.pointer + (product * paddedInputs + columns.lowerBound) * tiles, into: sums,
            row: row, ProductStart(accumulates: accumulates))
    }

    private func transform(_ range: Range<Int>, _ g: Tensor, _ x: Tensor, into block: GradientBlock) {
        prepackInputs(
            range, x, PanelMatrix.floats(depth: 1, columns: geometry.inputs), into: block.factors)
        transformGradient(range, g, into: block.gradients)
    }

    /// Transforms the pixels of the tiles `range` to panels [product][IC panel][T][IC of the panel].
    private func prepackInputs(
        _ range: Range<Int>, _ x: Tensor, _ paddedInputs: Int, into factors: Storage
    ) {
        let (inputs, panel) = (geometry.inputs, PanelMatrix.panel)
        let parts = (range.count + Self.transposedTiles - 1) / Self.transposedTiles
        let panels = (inputs + panel - 1) / panel
        let perProduct = Self.paddedStride(panel * Self.transposedTiles)
        Threads.parallelFor(panels * parts) { tasks in
            let rows = Storage(count: products * perProduct)
            for task in tasks {
                let first = task / parts * panel
                let channels = first..<min(first + panel, inputs)
                let stride = PanelMatrix.floats(depth: 1, columns: channels.count)
                let start = range.lowerBound + task % parts * Self.transposedTiles
                let part = start..<min(start + Self.transposedTiles, range.upperBound)
                let tiles = layout(
                    part, imageStep: inputs * geometry.inputPlane, product: perProduct,
                    channel: Self.transposedTiles, panel: panel)
                transform(tiles, x.pointer, channels, into: rows.pointer)
                for product in 0..<products {
                    kernels.prepack_transposed(
                        rows.pointer + product * perProduct, channels.count, part.count, Self.transposedTiles,
                        factors.pointer + product * paddedInputs * range.count + first * range.count
                            + (start - range.lowerBound) * stride)
                }
            }
        }
    }

    /// Transforms the gradients of the tiles `range` to [product][OC][T].
    private func transformGradient(_ range: Range<Int>, _ g: Tensor, into gradients: Storage) {
        let outputs = geometry.outputs
        let columns = paddedColumns(range.count)
        let tiles = layout(
            range, imageStep: outputs * geometry.outputPlane, product: Self.paddedStride(outputs * columns),
            channel: columns,
            panel: PanelMatrix.panel)
        Threads.parallelFor(outputs, grain: 8) { channels in
            var tiles = tiles
            kernels.winograd_output_grad(
                &tiles, g.pointer + channels.lowerBound * geometry.outputPlane, channels.count,
                gradients.pointer + channels.lowerBound * columns)
        }
    }
}

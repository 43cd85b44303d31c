// SPDX-License-Identifier: Apache-2.0
// 3x3 convolutions with stride 1 by Winograd's algorithm: pixels are transformed tile by tile, multiplied with the
// transformed weight in (m + 2)² matrix products over the channels, and transformed back while still in the cache.
// N images, IC/OC channels, T tiles of m x m outputs.

import CKernels

/// One convolution shape computed as F(m x m, 3 x 3).
struct WinogradConvolution {
    let geometry: ConvolutionGeometry
    let m: Int
    /// (m + 2)².
    let products: Int
    /// Number of tiles of all images.
    let tiles: Int

    /// Number of floats of transformed inputs, and of products, that a thread computes at a time.
    private static let inputBudget = 160 << 10, productBudget = 80 << 10
    /// Transformed weights above this size (floats) are divided over the threads by rows, so that they are read once
    /// and not once per thread.
    private static let sharedWeight = 6 << 20

    init(_ geometry: ConvolutionGeometry, _ m: Int) {
        precondition(m == 2 || m == 4, "winograd: expected F(2x2) or F(4x4), found F(\(m)x\(m))")
        self.geometry = geometry
        self.m = m
        products = (m + 2) * (m + 2)
        tiles = geometry.tiles(m)
    }

    /// `x` `[N, IC, H, W]` ∗ the weight whose `factors` are [(m + 2)², OC, IC], + `epilogue` → `output`
    /// `[N, OC, OH, OW]`.
    func forward(
        _ x: Tensor, _ factors: Storage, _ epilogue: ConvolutionEpilogue, into output: Tensor
    ) {
        // The kernels hold addresses only.
        defer { withExtendedLifetime(factors) {} }
        let left = UnsafePointer(factors.pointer)
        let perBlock = tilesPerBlock
        let blocks = (tiles + perBlock - 1) / perBlock
        // Loops inside `compute` run on the calling thread if the outer loop is parallel.
        if blocks >= Threads.count {
            Threads.parallelFor(blocks) { range in
                for block in range {
                    compute(tiles: tileRange(block, perBlock), x, left, epilogue, output)
                }
            }
        } else {
            for block in 0..<blocks { compute(tiles: tileRange(block, perBlock), x, left, epilogue, output) }
        }
    }

    private func tileRange(_ block: Int, _ perBlock: Int) -> Range<Int> {
        block * perBlock..<min((block + 1) * perBlock, tiles)
    }

    /// Tiles of a block: whole panels whose transformed inputs fit into the cache, and at least one block per thread.
    private var tilesPerBlock: Int {
        let panel = PanelMatrix.panel
        func wholePanels(_ count: Int) -> Int { max((count + panel - 1) / panel, 1) * panel }
        if products * geometry.inputs * geometry.outputs > Self.sharedWeight {
            return min(wholePanels(tiles), 8 * panel)
        }
        let fitting = max(Self.inputBudget / (products * geometry.inputs) / panel, 1) * panel
        return min(fitting, wholePanels((tiles + Threads.count - 1) / Threads.count), 8 * panel)
    }

    /// One block of tiles: transforms the inputs, then computes products and outputs for each band of output channels.
    private func compute(
        tiles range: Range<Int>, _ x: Tensor, _ left: UnsafePointer<Float>,
        _ epilogue: ConvolutionEpilogue, _ output: Tensor
    ) {
        let (inputs, outputs, panel) = (geometry.inputs, geometry.outputs, PanelMatrix.panel)
        let columns = paddedColumns(range.count)
        let panelColumns = min(columns, panel)
        let perProduct = Self.paddedStride(inputs * columns)
        let factors = Storage(count: products * perProduct)
        let source = layout(
            range, imageStep: inputs * geometry.inputPlane, product: perProduct, channel: panelColumns,
            panel: inputs * panelColumns)
        Threads.parallelFor(inputs, grain: 8) { channels in
            transform(source, x.pointer, channels, into: factors.pointer + channels.lowerBound * panelColumns)
        }
        let band = max(min(Self.productBudget / (products * columns) / 28 * 28, outputs), 14)
        let bands = (outputs + band - 1) / band
        Threads.parallelFor(bands) { taskBands in
            let perSum = Self.paddedStride(band * columns)
            let sums = Storage(count: products * perSum)
            for index in taskBands {
                let rows = index * band..<min((index + 1) * band, outputs)
                for product in 0..<products {
                    panelProduct(
                        rows: rows.count, columns: columns, depth: inputs,
                        LeftOperand(
                            left + product * Self.paddedStride(inputs * outputs) + rows.lowerBound * inputs,
                            row: inputs),
                        factors.pointer + product * perProduct,
                        into: sums.pointer + product * perSum, row: columns)
                }
                var target = layout(
                    range, imageStep: outputs * geometry.outputPlane, product: perSum,
                    channel: columns, panel: panel)
                var ending = epilogue.kernelEpilogue(from: rows.lowerBound, plane: geometry.outputPlane)
                kernels.winograd_output(
                    &target, sums.pointer, rows.count, &ending,
                    output.pointer + rows.lowerBound * geometry.outputPlane)
            }
        }
    }

    /// Number of floats from the matrix of one product, of `count` floats, to the next: whole cache lines plus one,
    /// because the transforms write to all products in turn, and a multiple of the page size would map them to one
    /// cache set.
    static func paddedStride(_ count: Int) -> Int {
        let line = 16
        return (count + line - 1) / line * line + line
    }

    /// Number of matrix columns of `count` tiles: one vector, or whole panels.
    func paddedColumns(_ count: Int) -> Int {
        let panel = PanelMatrix.panel
        return count <= panel / 2 ? panel / 2 : (count + panel - 1) / panel * panel
    }

    /// Transforms the pixels of `channels` of `x`.
    func transform(
        _ tiles: bf_winograd, _ x: UnsafePointer<Float>, _ channels: Range<Int>,
        into factors: UnsafeMutablePointer<Float>
    ) {
        var tiles = tiles
        let scratch = Storage(count: kernels.winograd_scratch(&tiles))
        kernels.winograd_input(
            &tiles, x + channels.lowerBound * geometry.inputPlane, channels.count, factors, scratch.pointer)
    }

    func layout(
        _ range: Range<Int>, imageStep: Int, product: Int, channel: Int, panel: Int
    ) -> bf_winograd {
        bf_winograd(
            shape: geometry.shape, m: Int32(m), first_tile: range.lowerBound, tiles: range.count,
            image_step: imageStep, product_step: product, channel_step: channel, panel_step: panel)
    }
}

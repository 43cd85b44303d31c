// SPDX-License-Identifier: Apache-2.0
// 3x3 convolutions with stride 1 by Winograd's algorithm: pixels are transformed tile by tile, (m + 2)² products over the
// channels follow, and their sums are transformed back while they are still in the cache.
// N images, IC/OC channels, T tiles of m x m outputs.

import CKernels

/// One convolution shape computed as F(m x m, 3 x 3).
struct WinogradConvolution {
    let geometry: ConvolutionGeometry
    let m: Int
    /// (m + 2)².
    let products: Int
    /// Tiles of all images.
    let tiles: Int

    /// Floats of transformed inputs, and of products, that a thread works on at a time.
    private static let inputBudget = 160 << 10, productBudget = 80 << 10
    /// Transformed weights above this (floats) are read once by sharing out their rows, not once a thread.
    private static let sharedWeight = 6 << 20

    init(_ geometry: ConvolutionGeometry, _ m: Int) {
        precondition(m == 2 || m == 4, "winograd: F(\(m)x\(m)) is not among F(2x2) and F(4x4)")
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
        // The kernels hold addresses alone.
        defer { withExtendedLifetime(factors) {} }
        let left = UnsafePointer(factors.pointer)
        let perBlock = tilesPerBlock
        let blocks = (tiles + perBlock - 1) / perBlock
        // Inner loops run inline where the outer one is parallel.
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

    /// Whole panels, as many as keep the transformed inputs near, and a block for each thread.
    private var tilesPerBlock: Int {
        let panel = PanelMatrix.panel
        func wholePanels(_ count: Int) -> Int { max((count + panel - 1) / panel, 1) * panel }
        if products * geometry.inputs * geometry.outputs > Self.sharedWeight {
            return min(wholePanels(tiles), 8 * panel)
        }
        let fitting = max(Self.inputBudget / (products * geometry.inputs) / panel, 1) * panel
        return min(fitting, wholePanels((tiles + Threads.count - 1) / Threads.count), 8 * panel)
    }

    /// One block of tiles: inputs transformed, then for each band of output channels products and outputs.
    private func compute(
        tiles range: Range<Int>, _ x: Tensor, _ left: UnsafePointer<Float>,
        _ epilogue: ConvolutionEpilogue, _ output: Tensor
    ) {
        let (inputs, outputs, panel) = (geometry.inputs, geometry.outputs, PanelMatrix.panel)
        let columns = paddedColumns(range.count)
        let width = min(columns, panel)
        let perProduct = Self.spread(inputs * columns)
        let factors = Storage(count: products * perProduct)
        let source = placement(
            range, imageStep: inputs * geometry.inputPlane, product: perProduct, channel: width,
            panel: inputs * width)
        Threads.parallelFor(inputs, grain: 8) { channels in
            transform(source, x.pointer, channels, into: factors.pointer + channels.lowerBound * width)
        }
        let band = max(min(Self.productBudget / (products * columns) / 28 * 28, outputs), 14)
        let bands = (outputs + band - 1) / band
        Threads.parallelFor(bands) { mine in
            let perSum = Self.spread(band * columns)
            let sums = Storage(count: products * perSum)
            for index in mine {
                let rows = index * band..<min((index + 1) * band, outputs)
                for product in 0..<products {
                    packedProduct(
                        rows: rows.count, columns: columns, depth: inputs,
                        LeftOperand(
                            left + product * Self.spread(inputs * outputs) + rows.lowerBound * inputs,
                            row: inputs),
                        factors.pointer + product * perProduct,
                        into: sums.pointer + product * perSum, row: columns)
                }
                var target = placement(
                    range, imageStep: outputs * geometry.outputPlane, product: perSum,
                    channel: columns, panel: panel)
                var ending = epilogue.kernelEpilogue(from: rows.lowerBound, plane: geometry.outputPlane)
                kernels.winograd_output(
                    &target, sums.pointer, rows.count, &ending,
                    output.pointer + rows.lowerBound * geometry.outputPlane)
            }
        }
    }

    /// Floats from one product's matrix of `count` floats to the next one's: whole cache lines, but no whole number of
    /// pages, since the transforms write to all products at once and would find them in one set of the cache.
    static func spread(_ count: Int) -> Int {
        let line = 16
        return (count + line - 1) / line * line + line
    }

    /// Columns that `count` tiles take in products: one vector, or whole panels, so that all have one width.
    func paddedColumns(_ count: Int) -> Int {
        let panel = PanelMatrix.panel
        return count <= panel / 2 ? panel / 2 : (count + panel - 1) / panel * panel
    }

    /// Transforms the pixels of `channels` of `x`.
    func transform(
        _ place: bf_winograd, _ x: UnsafePointer<Float>, _ channels: Range<Int>,
        into factors: UnsafeMutablePointer<Float>
    ) {
        var place = place
        let scratch = Storage(count: kernels.winograd_scratch(&place))
        kernels.winograd_input(
            &place, x + channels.lowerBound * geometry.inputPlane, channels.count, factors, scratch.pointer)
    }

    func placement(
        _ range: Range<Int>, imageStep: Int, product: Int, channel: Int, panel: Int
    ) -> bf_winograd {
        bf_winograd(
            shape: geometry.shape, m: Int32(m), first_tile: range.lowerBound, tiles: range.count,
            image_step: imageStep, product_step: product, channel_step: channel, panel_step: panel)
    }
}

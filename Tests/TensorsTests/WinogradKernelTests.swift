// SPDX-License-Identifier: Apache-2.0
// Winograd's transforms of every table against the scalar reference, which computes its matrices from the interpolation
// points. Pixels end at inaccessible pages.

import CKernels
import TestKit
import Testing

@testable import Tensors

/// Tiles of images, and the layout of their transforms in `table`.
private struct Tiles {
    let table: bf_kernel_table
    let m: Int
    let range: Range<Int>
    let channels: Int
    let shape: bf_conv_shape
    let images: Int

    var products: Int { (m + 2) * (m + 2) }
    var panel: Int { 2 * table.vector_width }
    private var perChannel: Int { (range.count + panel - 1) / panel * panel }
    var floatCount: Int { products * channels * perChannel }

    func layout(imageStep: Int) -> bf_winograd {
        bf_winograd(
            shape: shape, m: Int32(m), first_tile: range.lowerBound, tiles: range.count,
            image_step: imageStep,
            product_step: channels * perChannel, channel_step: perChannel, panel_step: panel)
    }

    /// The transforms of the tiles of the range, [product][channel][tile].
    func used(_ values: [Float]) -> [Float] {
        (0..<products * channels).flatMap { values[$0 * perChannel..<$0 * perChannel + range.count] }
    }

    /// The inverse: `values` [product][channel][tile] in the layout of this table, NaN elsewhere.
    func laidOut(_ values: [Float]) -> [Float] {
        var result = [Float](repeating: .nan, count: floatCount)
        for row in 0..<products * channels {
            for tile in 0..<range.count { result[row * perChannel + tile] = values[row * range.count + tile] }
        }
        return result
    }
}

@Suite struct WinogradKernelTests {
    /// Images, height, width, padding above and left, output size smaller by.
    private static let geometries: [(Int, Int, Int, Int, Int)] = [
        (1, 8, 8, 1, 0), (3, 8, 8, 1, 0), (2, 5, 7, 1, 0), (1, 16, 67, 1, 0), (2, 4, 64, 0, 2),
        (1, 1, 1, 1, 0),
        (5, 3, 2, 1, 0), (1, 9, 9, 2, -2), (1, 6, 200, 1, 0),
    ]

    private func forEachTiles(_ table: bf_kernel_table, _ body: (Tiles, Tiles) throws -> Void) rethrows {
        for m in [2, 4] {
            for (images, height, width, pad, less) in Self.geometries {
                let (oh, ow) = (height - less, width - less)
                let shape = bf_conv_shape(
                    height: Int32(height), width: Int32(width), out_height: Int32(oh), out_width: Int32(ow),
                    kernel_height: 3, kernel_width: 3, stride: 1, pad_top: Int32(pad), pad_left: Int32(pad))
                let all = images * ((oh + m - 1) / m) * ((ow + m - 1) / m)
                for range in [0..<all, all / 3..<all, 0..<(all + 1) / 2] where !range.isEmpty {
                    func tiles(_ table: bf_kernel_table) -> Tiles {
                        Tiles(table: table, m: m, range: range, channels: 2, shape: shape, images: images)
                    }
                    try body(tiles(table), tiles(reference))
                }
            }
        }
    }

    @Test("weights and their gradients, rotated or not", arguments: KernelTable.available, [false, true])
    func weights(table: KernelTable, flip: Bool) throws {
        for m in [2, 4] {
            for (rows, inputs) in [(1, 1), (3, 16), (2, 17), (5, 35)] {
                let products = (m + 2) * (m + 2), step = rows * inputs + 5
                let w = try GuardedBuffer(normal([rows, inputs, 9], stream: 1).values)
                func transformed(_ kernels: bf_kernel_table) -> [Float] {
                    floats(products * step) {
                        kernels.winograd_weights(Int32(m), w.pointer, $0, rows, inputs, step, flip)
                    }
                }
                expectClose(
                    transformed(table.kernels), transformed(reference).map(Double.init),
                    Tolerance(absolute: 4e-6, relative: 0), "F(\(m)), \(rows)x\(inputs)")
                let gu = normal([products * step], stream: 2).values
                func gradient(_ kernels: bf_kernel_table) -> [Float] {
                    floats(rows * inputs * 9) {
                        kernels.winograd_weights_grad(Int32(m), gu, $0, rows, inputs, step)
                    }
                }
                expectClose(
                    gradient(table.kernels), gradient(reference).map(Double.init),
                    Tolerance(absolute: 2e-5, relative: 0), "gradient of F(\(m)), \(rows)x\(inputs)")
            }
        }
    }

    @Test("transforms of pixels", arguments: KernelTable.available)
    func input(table: KernelTable) throws {
        try forEachTiles(table.kernels) { tiles, twin in
            let plane = Int(tiles.shape.height * tiles.shape.width), step = tiles.channels * plane
            let x = try GuardedBuffer(normal([tiles.images * step], stream: 1).values)
            func factors(_ tiles: Tiles) -> [Float] {
                var layout = tiles.layout(imageStep: step)
                var scratch = [Float](repeating: .nan, count: tiles.table.winograd_scratch(&layout))
                return tiles.used(
                    floats(tiles.floatCount) {
                        tiles.table.winograd_input(&layout, x.pointer, tiles.channels, $0, &scratch)
                    })
            }
            expectClose(
                factors(tiles), factors(twin).map(Double.init), Tolerance(absolute: 2e-5, relative: 0),
                "F(\(tiles.m)), \(tiles.shape), tiles \(tiles.range)")
        }
    }

    @Test("transforms of products to pixels, with all added terms", arguments: KernelTable.available)
    func output(table: KernelTable) throws {
        try forEachTiles(table.kernels) { tiles, twin in
            let plane = Int(tiles.shape.out_height * tiles.shape.out_width), step = tiles.channels * plane
            let products = normal([tiles.products * tiles.channels * tiles.range.count], stream: 1).values
            let bias = try GuardedBuffer(normal([tiles.channels], stream: 2).values)
            let channelBias = try GuardedBuffer(normal([tiles.images * tiles.channels], stream: 3).values)
            let addend = try GuardedBuffer(normal([tiles.images * step], stream: 4).values)
            func pixels(_ tiles: Tiles) -> [Float] {
                var layout = tiles.layout(imageStep: step)
                var epilogue = bf_epilogue(
                    bias: bias.pointer, channel_bias: channelBias.pointer, channel_bias_step: tiles.channels,
                    addend: addend.pointer)
                let laidOut = tiles.laidOut(products)
                return floats(tiles.images * step) {
                    tiles.table.winograd_output(&layout, laidOut, tiles.channels, &epilogue, $0)
                }
            }
            expectClose(
                pixels(tiles), pixels(twin).map(Double.init), .winogradTransform,
                "F(\(tiles.m)), \(tiles.shape), tiles \(tiles.range)")
        }
    }

    @Test(
        "gradients of products from gradients of pixels, zero past the last tile",
        arguments: KernelTable.available)
    func outputGradient(table: KernelTable) throws {
        try forEachTiles(table.kernels) { tiles, twin in
            let plane = Int(tiles.shape.out_height * tiles.shape.out_width), step = tiles.channels * plane
            let g = try GuardedBuffer(normal([tiles.images * step], stream: 1).values)
            func gradients(_ tiles: Tiles) -> [Float] {
                var layout = tiles.layout(imageStep: step)
                return floats(tiles.floatCount) {
                    tiles.table.winograd_output_grad(&layout, g.pointer, tiles.channels, $0)
                }
            }
            let result = gradients(tiles)
            #expect(result.allSatisfy { $0.isFinite })
            expectClose(
                tiles.used(result), twin.used(gradients(twin)).map(Double.init),
                .winogradTransform, "F(\(tiles.m)), \(tiles.shape), tiles \(tiles.range)")
        }
    }
}

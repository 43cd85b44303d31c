// SPDX-License-Identifier: Apache-2.0
// Passes of an autoencoder over overlapping tiles, which are blended linearly. Matches diffusers `_tiled_encode`,
// `tiled_decode`, `blend_v` and `blend_h` (models/autoencoders/autoencoder_kl.py).
// B batch, C channels, H W size.

import Tensors

/// The tiles of a tiled pass.
public struct AutoencoderTiling: Sendable, Equatable {
    /// Side length of a tile in pixels; larger images are encoded in tiles. diffusers' `tile_sample_min_size`.
    public var sampleMinSize: Int
    /// Side length of a tile in latents; larger latents are decoded in tiles. diffusers' `tile_latent_min_size`.
    public var latentMinSize: Int
    /// The share of a tile that overlaps with the next one, in 0..<1. diffusers' `tile_overlap_factor`.
    public var overlapFactor = 0.25

    /// Tiles of the model's `sample_size`, as in diffusers.
    public init(_ config: AutoencoderKLConfig) {
        sampleMinSize = config.sampleSize
        latentMinSize = config.sampleSize / config.vaeScaleFactor
    }

    /// Tiles of another size, 25 % of which overlap.
    ///
    /// - Parameters:
    ///   - sampleMinSize: side length in pixels, preferably a multiple of four times the pixels per latent.
    ///   - config: the model, which gives the number of pixels per latent.
    public init(sampleMinSize: Int, _ config: AutoencoderKLConfig) {
        self.sampleMinSize = sampleMinSize
        latentMinSize = sampleMinSize / config.vaeScaleFactor
    }

    /// `image` `[B, C, H, W]` tile by tile.
    func encoded(_ image: Tensor, by encode: (Tensor) -> Tensor) -> Tensor {
        blended(image, inputSize: sampleMinSize, outputSize: latentMinSize, by: encode)
    }

    /// `latents` `[B, C, H, W]` tile by tile.
    func decoded(_ latents: Tensor, by decode: (Tensor) -> Tensor) -> Tensor {
        blended(latents, inputSize: latentMinSize, outputSize: sampleMinSize, by: decode)
    }

    /// Applies `pass` to tiles of `inputSize`, blends the results, which have `outputSize`, and joins them. The tiles
    /// at the right and at the bottom can be smaller.
    private func blended(_ x: Tensor, inputSize: Int, outputSize: Int, by pass: (Tensor) -> Tensor) -> Tensor {
        let step = Int(Double(inputSize) * (1 - overlapFactor))
        precondition(
            step > 0 && overlapFactor >= 0,
            "autoencoder tiling: tiles of \(inputSize) with overlap \(overlapFactor) do not advance")
        let extent = Int(Double(outputSize) * overlapFactor)
        let limit = outputSize - extent
        return withoutGradients {
            var strips: [Tensor] = []
            // The row above with blended edges: diffusers blends in place, and the next row with the result.
            var above: [Tensor] = []
            for top in stride(from: 0, to: x.shape[2], by: step) {
                let band = x.sliced(axis: 2, top..<min(top + inputSize, x.shape[2]))
                var row: [Tensor] = []
                for left in stride(from: 0, to: x.shape[3], by: step) {
                    let tile = pass(band.sliced(axis: 3, left..<min(left + inputSize, x.shape[3])))
                    if !above.isEmpty { blend(above[row.count], into: tile, axis: 2, extent: extent) }
                    if let before = row.last { blend(before, into: tile, axis: 3, extent: extent) }
                    row.append(tile)
                }
                let cropped = row.map { tile in
                    tile.sliced(axis: 2, 0..<min(limit, tile.shape[2]))
                        .sliced(axis: 3, 0..<min(limit, tile.shape[3]))
                }
                strips.append(.concatenated(cropped, axis: 3))
                above = row
            }
            return .concatenated(strips, axis: 2)
        }
    }

    /// Blends the last `extent` rows (axis 2) or columns (axis 3) of `before` linearly into the first ones of `tile`,
    /// which is overwritten. Smaller tiles are blended over their whole length.
    private func blend(_ before: Tensor, into tile: Tensor, axis: Int, extent: Int) {
        let (length, lengthBefore) = (tile.shape[axis], before.shape[axis])
        let extent = min(extent, length, lengthBefore)
        let inner = axis == 2 ? min(tile.shape[3], before.shape[3]) : 1
        // Rows of a plane for axis 3; whole planes for axis 2.
        let outer = tile.shape[0] * tile.shape[1] * (axis == 3 ? tile.shape[2] : 1)
        precondition(
            before.count / (lengthBefore * inner) == outer,
            "autoencoder tiling: tiles \(before.shape) and \(tile.shape) cannot be blended along axis \(axis)")
        tile.withUnsafeMutableBufferPointer { target in
            before.withUnsafeBufferPointer { source in
                for part in 0..<outer {
                    for index in 0..<extent {
                        let share = Double(index) / Double(extent)
                        let (old, new) = (Float(1 - share), Float(share))
                        let from = (part * lengthBefore + lengthBefore - extent + index) * inner
                        let to = (part * length + index) * inner
                        for offset in 0..<inner {
                            target[to + offset] = source[from + offset] * old + target[to + offset] * new
                        }
                    }
                }
            }
        }
    }
}

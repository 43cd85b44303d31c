// SPDX-License-Identifier: Apache-2.0
//
// Labels the 4-connected regions of a mask (H rows, W columns, row-major).

/// The regions of a binary image.
struct ConnectedComponents {
    /// Per pixel: the region's number from 0, or -1 for pixels outside the mask.
    let labels: [Int32]
    /// Per region: the offsets of its pixels, in the order of discovery; regions come in raster order.
    let regions: [[Int]]

    /// Finds the regions of `mask`, [height * width].
    ///
    /// - Complexity: O(pixels).
    init(mask: [Bool], width: Int, height: Int) {
        precondition(
            mask.count == width * height, "ConnectedComponents: \(mask.count) values for \(width)x\(height)")
        var labels = [Int32](repeating: -1, count: mask.count)
        var regions: [[Int]] = []
        for start in mask.indices where mask[start] && labels[start] < 0 {
            let label = Int32(regions.count)
            var region = [start]
            labels[start] = label
            var visited = 0
            while visited < region.count {
                let offset = region[visited]
                visited += 1
                let column = offset % width
                func visit(_ neighbour: Int) {
                    guard mask[neighbour], labels[neighbour] < 0 else { return }
                    labels[neighbour] = label
                    region.append(neighbour)
                }
                if column > 0 { visit(offset - 1) }
                if column + 1 < width { visit(offset + 1) }
                if offset >= width { visit(offset - width) }
                if offset + width < mask.count { visit(offset + width) }
            }
            regions.append(region)
        }
        self.labels = labels
        self.regions = regions
    }
}

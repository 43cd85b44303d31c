// SPDX-License-Identifier: Apache-2.0
// Convolutions of any shape as one matrix product. The patches of the image are the columns; they are written directly
// to panels, so that the complete column matrix is never stored. The weight is read in place. N images, IC/OC channels,
// P output pixels of an image, K = IC · KH · KW taps.

import CKernels

/// One convolution shape computed over columns.
struct ColumnConvolution {
    let geometry: ConvolutionGeometry

    /// Number of floats of column panels that a thread computes at a time.
    private static let columnBudget = 160 << 10
    /// Number of floats of a lazy weight that a thread computes at a time: they fit into the third-level cache, and the
    /// columns, which are read once for each part of the weight, are read few times.
    private static let weightBudget = 2 << 20

    init(_ geometry: ConvolutionGeometry) { self.geometry = geometry }

    /// `x` `[N, IC, H, W]` ∗ `weight` `[OC, IC, KH, KW]` + `epilogue` → `output` `[N, OC, OH, OW]`.
    func forward(_ x: Tensor, _ weight: Tensor, _ epilogue: ConvolutionEpilogue, into output: Tensor) {
        let (outputs, plane, taps) = (geometry.outputs, geometry.outputPlane, geometry.taps)
        let panel = PanelMatrix.panel
        let perThread = (geometry.batch * plane + Threads.count - 1) / Threads.count
        let fitting = min(max(Self.columnBudget / taps / panel, 1) * panel, max(perThread, panel), plane)
        let group = max(fitting / panel, 1) * panel
        let groups = (plane + group - 1) / group
        let biases = (0..<geometry.batch).map { epilogue.rowBias(image: $0, outputs: outputs) }
        func compute(_ task: Int) {
            let (image, first) = (task / groups, task % groups * group)
            let count = min(group, plane - first)
            let columns = Storage(count: PanelMatrix.floats(depth: taps, columns: count))
            prepack(x, image: image, pixels: first..<first + count, into: columns)
            let at = image * outputs * plane + first
            Threads.parallelFor(outputs, grain: 28) { range in
                biases[image].withPointer { bias in
                    weight.forEachRows(of: range, unit: 28, floats: Self.weightBudget) { rows, filters in
                        panelProduct(
                            rows: rows.count, columns: count, depth: taps, LeftOperand(filters, row: taps),
                            columns.pointer, into: output.pointer + at + rows.lowerBound * plane, row: plane,
                            ProductStart(
                                rowBias: bias.map { $0 + rows.lowerBound },
                                addend: epilogue.addend.map {
                                    UnsafePointer($0.pointer + at + rows.lowerBound * plane)
                                }))
                    }
                }
            }
        }
        let tasks = geometry.batch * groups
        // A lazy weight that is read more than once is materialized.
        if tasks > 1 { weight.materialized() }
        // Loops inside `compute` run on the calling thread if the outer loop is parallel.
        if tasks >= Threads.count {
            Threads.parallelFor(tasks) { for task in $0 { compute(task) } }
        } else {
            for task in 0..<tasks { compute(task) }
        }
    }

    /// Writes the panels of the columns of `pixels` in parallel.
    private func prepack(_ x: Tensor, image: Int, pixels: Range<Int>, into columns: Storage) {
        let source = x.pointer + image * geometry.inputs * geometry.inputPlane
        Threads.parallelFor(pixels.count, grain: PanelMatrix.panel) { range in
            let to = columns.pointer + range.lowerBound * geometry.taps
            if geometry.isPointwise {
                kernels.prepack(
                    source + pixels.lowerBound + range.lowerBound, geometry.inputs, range.count,
                    geometry.inputPlane, to)
            } else {
                kernels.prepack_image(
                    source, geometry.shape, geometry.inputs, pixels.lowerBound + range.lowerBound,
                    range.count, to)
            }
        }
    }

    /// The gradient of the input if it is not a convolution: columns Wᵀ g, added to the pixels of each image.
    func gradientOfInputByColumns(_ g: Tensor, _ weight: Tensor) -> Tensor {
        let (outputs, plane, taps) = (geometry.outputs, geometry.outputPlane, geometry.taps)
        let gx = Tensor.zeros(geometry.inputShape)
        let area = geometry.kernelArea
        let filters = weight.pointer
        // Each channel of an image belongs to one task, so that tasks write to different pixels.
        for image in 0..<geometry.batch {
            let gradient = PanelMatrix(
                g.pointer + image * outputs * plane, depth: outputs, columns: plane, ld: plane)
            Threads.parallelFor(geometry.inputs, grain: max(84 / area, 1)) { channels in
                let columns = Storage(count: channels.count * area * plane)
                panelProduct(
                    rows: channels.count * area, columns: plane, depth: outputs,
                    .transposed(filters + channels.lowerBound * area, columns: taps),
                    gradient.storage.pointer, into: columns.pointer, row: plane)
                kernels.col2im(
                    columns.pointer,
                    gx.pointer + (image * geometry.inputs + channels.lowerBound) * geometry.inputPlane,
                    geometry.shape, channels.count)
            }
        }
        return gx
    }

    /// `g` `[N, OC, OH, OW]`, `x` `[N, IC, H, W]` → `gradient` `[OC, IC, KH, KW]`. Each task computes some
    /// input channels and sums over images and pixels in order: the same bits for any number of threads.
    func gradientOfWeight(_ g: Tensor, _ x: Tensor, into gradient: Tensor) {
        let (inputs, outputs, plane, taps) = (
            geometry.inputs, geometry.outputs, geometry.outputPlane, geometry.taps
        )
        let (area, panel) = (geometry.kernelArea, PanelMatrix.panel)
        // With few taps there are few panels; then blocks have fewer channels than fit into the cache.
        let fitting = max(Self.columnBudget / max(min(plane, 512) * area, 1), 1)
        let channels = min(fitting, max((inputs + 3) / 4, (panel + area - 1) / area))
        let blocks = (inputs + channels - 1) / channels
        Threads.parallelFor(blocks) { range in
            for block in range {
                let blockChannels = block * channels..<min((block + 1) * channels, inputs)
                let blockTaps = blockChannels.count * area
                let step = 512
                let columns = Storage(count: PanelMatrix.floats(depth: blockTaps, columns: min(step, plane)))
                let panels = Storage(count: PanelMatrix.floats(depth: min(step, plane), columns: blockTaps))
                for image in 0..<geometry.batch {
                    let source = x.pointer + (image * inputs + blockChannels.lowerBound) * geometry.inputPlane
                    for first in stride(from: 0, to: plane, by: step) {
                        let count = min(step, plane - first)
                        prepackTaps(source, blockChannels.count, first..<first + count, columns, into: panels)
                        panelProduct(
                            rows: outputs, columns: blockTaps, depth: count,
                            LeftOperand(g.pointer + image * outputs * plane + first, row: plane),
                            panels.pointer, into: gradient.pointer + blockChannels.lowerBound * area, row: taps,
                            ProductStart(accumulates: image > 0 || first > 0))
                    }
                }
            }
        }
    }

    /// The columns of `pixels` as panels over the taps: [tap panel][pixel][tap of the panel].
    private func prepackTaps(
        _ source: UnsafePointer<Float>, _ channels: Int, _ pixels: Range<Int>, _ columns: Storage,
        into panels: Storage
    ) {
        let taps = channels * geometry.kernelArea
        if geometry.isPointwise {
            kernels.prepack_transposed(
                source + pixels.lowerBound, taps, pixels.count, geometry.inputPlane, panels.pointer)
            return
        }
        kernels.im2col(
            source, columns.pointer, geometry.shape, channels, pixels.lowerBound, pixels.count, pixels.count)
        kernels.prepack_transposed(columns.pointer, taps, pixels.count, pixels.count, panels.pointer)
    }
}

extension Optional where Wrapped == [Float] {
    /// Calls `body` with the address of the values, or nil.
    fileprivate func withPointer<R>(_ body: (UnsafePointer<Float>?) -> R) -> R {
        switch self {
        case .none: body(nil)
        case .some(let values): values.withUnsafeBufferPointer { body($0.baseAddress) }
        }
    }
}

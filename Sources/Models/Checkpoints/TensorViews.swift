// SPDX-License-Identifier: Apache-2.0
// Tensors of other containers under other names and in other shapes: whole, some rows, or transposed. Nothing is read
// before it is asked for, and only what is asked for.

import Files

/// How a tensor is found in another container.
struct TensorView: Sendable {
    enum Layout: Equatable, Sendable {
        /// All elements in their order.
        case whole
        /// Rows of the first axis.
        case rows(Range<Int>)
        /// The transpose of a matrix.
        case transposed
    }

    let source: any TensorSource
    let key: String
    let stored: StoredTensor
    let layout: Layout

    /// The tensor `key` of `source` as it is.
    ///
    /// - Throws: `CheckpointError.missingKey`.
    init(_ source: any TensorSource, _ key: String) throws {
        self.source = source
        self.key = key
        stored = try source.require(key)
        layout = .whole
    }

    private init(_ view: TensorView, shape: [Int], layout: Layout) {
        source = view.source
        key = view.key
        stored = StoredTensor(type: view.stored.type, typeName: view.stored.typeName, shape: shape)
        self.layout = layout
    }

    /// The same elements in another shape.
    ///
    /// - Precondition: as many elements.
    func reshaped(_ shape: [Int]) -> TensorView {
        precondition(shape.reduce(1, *) == stored.count, "view of \(key): \(stored.shape) as \(shape)")
        return TensorView(self, shape: shape, layout: layout)
    }

    /// A convolution with a kernel of one element as the matrix that it is; other tensors as they are.
    var withoutKernel: TensorView {
        let shape = stored.shape
        let isPointwise = shape.count > 2 && shape.dropFirst(2).allSatisfy { $0 == 1 }
        return isPointwise ? reshaped(Array(shape.prefix(2))) : self
    }

    /// Part `index` of `count` equal parts of the first axis.
    ///
    /// - Precondition: the view is whole, and its first extent is a multiple of `count`.
    func part(_ index: Int, of count: Int) -> TensorView {
        precondition(layout == .whole && stored.shape.first.map { $0 % count == 0 } == true, "view of \(key): parts")
        let rows = stored.shape[0] / count
        return TensorView(
            self, shape: [rows] + stored.shape.dropFirst(), layout: .rows(index * rows..<(index + 1) * rows))
    }

    /// The transpose of a matrix.
    ///
    /// - Precondition: the view is whole and has two axes.
    var transposed: TensorView {
        precondition(layout == .whole && stored.shape.count == 2, "view of \(key): transpose of \(stored.shape)")
        return TensorView(self, shape: stored.shape.reversed(), layout: .transposed)
    }

    func read(bytes range: Range<Int>, into buffer: UnsafeMutableRawBufferPointer) throws {
        switch layout {
        case .whole:
            if range.count == stored.byteCount { return try source.read(key, into: buffer) }
            try source.read(key, bytes: range, into: buffer)
        case .rows(let rows):
            let rowBytes = stored.byteCount / max(rows.count, 1)
            let start = rows.lowerBound * rowBytes
            try source.read(key, bytes: start + range.lowerBound..<start + range.upperBound, into: buffer)
        case .transposed:
            let all = UnsafeMutableRawBufferPointer.allocate(byteCount: stored.byteCount, alignment: 64)
            defer { all.deallocate() }
            try source.read(key, into: all)
            let (rows, columns, size) = (stored.shape[0], stored.shape[1], stored.type?.bytesPerElement ?? 0)
            var offset = range.lowerBound
            while offset < range.upperBound {
                let (row, column) = (offset / size / columns, offset / size % columns)
                let from = (column * rows + row) * size
                for byte in 0..<size { buffer[offset - range.lowerBound + byte] = all[from + byte] }
                offset += size
            }
        }
    }
}

/// A container made of views.
final class TensorViews: TensorSource {
    let path: String
    let keys: [String]
    private let views: [String: TensorView]

    /// - Parameters:
    ///   - path: the file or folder, for messages.
    ///   - views: the tensors by their names here.
    init(_ path: String, _ views: [String: TensorView]) {
        self.path = path
        self.views = views
        keys = views.keys.sorted(by: byBytes)
    }

    func stored(_ key: String) -> StoredTensor? { views[key]?.stored }

    func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws {
        try read(key, bytes: 0..<buffer.count, into: buffer)
    }

    func read(_ key: String, bytes range: Range<Int>, into buffer: UnsafeMutableRawBufferPointer) throws {
        guard let view = views[key] else { throw CheckpointError.missingKey(file: path, key: key) }
        try view.read(bytes: range, into: buffer)
    }
}

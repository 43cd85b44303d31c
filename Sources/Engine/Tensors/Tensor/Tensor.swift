// SPDX-License-Identifier: Apache-2.0
// The tensor: contiguous, row-major, Float32. Shape letters as in PyTorch: N or B batch, C channels, H W space.

/// A multi-dimensional array of Float32, contiguous and row-major.
///
/// A tensor is a value: operations return new tensors. Copies share storage. Unless recording is off (see
/// ``withoutGradients(_:)``), a result that depends on a trainable ``Parameter`` records the operation that computed
/// it.
public struct Tensor: @unchecked Sendable {
    /// The size of each axis, outermost first; `[]` is a scalar.
    public let shape: [Int]
    /// The product of `shape`.
    public let count: Int
    private(set) var storage: Storage
    let offset: Int
    var node: GradientNode?

    init(storage: Storage, offset: Int = 0, shape: [Int], node: GradientNode? = nil) {
        self.shape = shape
        self.count = shape.reduce(1, *)
        self.storage = storage
        self.offset = offset
        self.node = node
    }

    /// A tensor with undefined contents from the memory pool; the caller writes every element.
    public init(unsafeUninitialized shape: [Int]) {
        precondition(shape.allSatisfy { $0 >= 0 }, "Tensor: negative axis in \(shape)")
        self.init(storage: Storage(count: shape.reduce(1, *)), shape: shape)
    }

    /// A tensor of `values`, row-major.
    ///
    /// - Precondition: `values.count` is the product of `shape`.
    public init(_ values: [Float], shape: [Int]) {
        self.init(unsafeUninitialized: shape)
        precondition(values.count == count, "Tensor: \(values.count) values for shape \(shape)")
        values.withUnsafeBufferPointer { source in
            if let base = source.baseAddress { pointer.update(from: base, count: count) }
        }
    }

    /// A scalar, shape `[]`.
    public init(scalar value: Float) { self.init([value], shape: []) }

    public static func full(_ shape: [Int], _ value: Float) -> Tensor {
        let result = Tensor(unsafeUninitialized: shape)
        // In parallel, because the first write to new memory costs a page fault.
        Threads.parallelFor(result.count, grain: elementwiseGrain) { range in
            (result.pointer + range.lowerBound).update(repeating: value, count: range.count)
        }
        return result
    }

    public static func zeros(_ shape: [Int]) -> Tensor { full(shape, 0) }
    public static func ones(_ shape: [Int]) -> Tensor { full(shape, 1) }

    public var rank: Int { shape.count }

    /// A copy of the elements, row-major.
    public var values: [Float] { Array(UnsafeBufferPointer(start: pointer, count: count)) }

    /// The only element.
    public var item: Float {
        precondition(count == 1, "item: shape \(shape) holds \(count) elements, not one")
        return pointer[0]
    }

    /// The element at a row-major index.
    public subscript(_ flat: Int) -> Float {
        precondition(flat >= 0 && flat < count, "index \(flat) outside a tensor of \(count) elements")
        return pointer[flat]
    }

    public func withUnsafeBufferPointer<R>(_ body: (UnsafeBufferPointer<Float>) throws -> R) rethrows -> R {
        try withExtendedLifetime(storage) { try body(UnsafeBufferPointer(start: pointer, count: count)) }
    }

    /// The elements for writing. Only for code that created this tensor and has not shared it yet, and for optimizers.
    public func withUnsafeMutableBufferPointer<R>(_ body: (UnsafeMutableBufferPointer<Float>) throws -> R)
        rethrows -> R
    {
        storage.prepackedForms?.drop()
        return try withExtendedLifetime(storage) {
            try body(UnsafeMutableBufferPointer(start: pointer, count: count))
        }
    }

    /// True when every element is neither infinite nor NaN.
    public var isFinite: Bool { kernels.all_finite(pointer, count) }

    /// A copy with its own memory, off the tape.
    package func copied() -> Tensor { mapped { $1.update(from: $0, count: $2) } }

    /// `shape` elements from element `first` on, in the same memory, off the tape.
    package func part(from first: Int, shape: [Int]) -> Tensor {
        let part = Tensor(storage: storage, offset: offset + first, shape: shape)
        precondition(first >= 0 && first + part.count <= count, "part: \(shape) from \(first) on of \(self.shape)")
        return part
    }

    /// True when no other tensor shares the memory, so that it can be overwritten.
    package mutating func isUniquelyOwned() -> Bool { isKnownUniquelyReferenced(&storage) }

    /// Whether both tensors use the same block of memory.
    package func sharesMemory(with other: Tensor) -> Bool { storage === other.storage }

    /// The address of the first element; valid while the tensor lives. For reading, and for writing to a new tensor
    /// that is not shared yet.
    package var pointer: UnsafeMutablePointer<Float> { storage.pointer + offset }

    /// The address of the first element for writing; valid while the tensor lives. Drops the prepacked forms of the old
    /// values.
    package var mutablePointer: UnsafeMutablePointer<Float> {
        storage.prepackedForms?.drop()
        return pointer
    }

    /// Marks the values of a parameter: their prepacked forms are cached between uses.
    func cachesPrepackedForms() {
        if storage.prepackedForms == nil, offset == 0, count == storage.count {
            storage.prepackedForms = PrepackedForms()
        }
    }

    /// The cached forms of this weight; nil unless it is the whole value of a frozen parameter, and inside
    /// `withoutPanelCache`.
    private var prepackedForms: PrepackedForms? {
        guard let forms = storage.prepackedForms, node == nil, offset == 0, count == storage.count,
            PanelCache.isEnabled
        else { return nil }
        return forms
    }

    /// Whether this weight is prepacked once instead of at each use.
    var isPrepackedOnce: Bool { prepackedForms != nil }

    /// `form` of this weight: the cached one if the weight is frozen, otherwise made for this use.
    func prepacked(_ form: PrepackedForm, floats: Int, make: () -> Storage) -> Storage {
        prepackedForms?.form(form, floats: floats, make: make) ?? make()
    }

    /// A new tensor computed by `kernel(source, destination, count)` in parallel passes over all elements.
    func mapped(_ kernel: (UnsafePointer<Float>, UnsafeMutablePointer<Float>, Int) -> Void) -> Tensor {
        let result = Tensor(unsafeUninitialized: shape)
        Threads.parallelFor(count, grain: elementwiseGrain) { range in
            kernel(pointer + range.lowerBound, result.pointer + range.lowerBound, range.count)
        }
        return result
    }

    /// Memory for a result that is computed elementwise from this gradient: this tensor's own memory if no other tensor
    /// shares it, otherwise new memory.
    mutating func overwritable() -> Tensor { isUniquelyOwned() ? self : Tensor(unsafeUninitialized: shape) }

    /// The axis counted from the end when negative.
    func axis(_ axis: Int) -> Int {
        let resolved = axis < 0 ? axis + rank : axis
        precondition(resolved >= 0 && resolved < rank, "axis \(axis) outside shape \(shape)")
        return resolved
    }
}

// SPDX-License-Identifier: Apache-2.0
// Sums of gradients that do not depend on the order of their terms. Gradients of micro-batches are rounded to multiples
// of a power of two, one for each parameter, and added as 32-bit integers. Float32 sums of the same terms differ by the
// order, and therefore by the number of processes (Demmel and Nguyen 2013, "Fast reproducible floating-point
// summation", has other ways to avoid this).

import CKernels
import Foundation
import Synchronization
import Tensors

/// Adds up the gradients of the micro-batches of a step.
///
/// A gradient g is stored as the integer round(2^k g). The exponent k of a parameter is chosen after each step so that
/// the sum of the largest magnitudes of all micro-batches has 4 bits of headroom: the rounding error of a term is at
/// most 2^-27 of that sum. If a sum could exceed 32 bits, the step is computed again with a smaller exponent. All of
/// this depends on the gradients of the micro-batches alone, not on the processes that compute them.
public final class GradientAccumulator {
    /// A group of parameters whose sums are adjacent in memory.
    private struct Bucket {
        let slots: Range<Int>
        let count: Int
        /// 32-bit integers, then the gradients in Float32.
        var sums: Tensor?
    }

    /// What the accumulated gradients can be used for.
    public enum Outcome: Equatable, Sendable {
        /// They are complete.
        case complete
        /// A sum may have exceeded 32 bits. The exponents are changed; accumulate the same gradients again.
        case overflow
        /// A gradient is infinite or NaN.
        case notFinite
    }

    private let parameters: [Parameter]
    /// By slot, the index of a parameter: the bucket and the first element in it.
    private let places: [(bucket: Int, first: Int)]
    private var buckets: [Bucket]
    /// k, by slot; nil before the first gradient.
    private var exponents: [Int?]
    /// By slot: sums of the largest magnitudes of this process's terms, in units of 2^-k, rounded up.
    private var magnitudes: [Int64]
    /// By slot: the number of this process's terms.
    private var terms: [Int64]
    private var infiniteTerms: Int64 = 0

    /// Elements of a bucket, unless a parameter has more.
    private static let bucketSize = 1 << 23
    private static let headroom = 4
    /// For parameters whose first gradient is 0.
    private static let defaultExponent = 40
    /// Larger magnitudes are counted as this one, so that no sum of magnitudes overflows.
    private static let largestMagnitude = 0x1p40

    /// - Parameter parameters: those that get gradients.
    public init(_ parameters: [Parameter]) {
        self.parameters = parameters
        var buckets: [Bucket] = [], places: [(bucket: Int, first: Int)] = []
        for (slot, parameter) in parameters.enumerated() {
            let count = parameter.value.count
            if let last = buckets.last, last.count + count <= Self.bucketSize {
                places.append((buckets.count - 1, last.count))
                buckets[buckets.count - 1] = Bucket(slots: last.slots.lowerBound..<slot + 1, count: last.count + count)
            } else {
                places.append((buckets.count, 0))
                buckets.append(Bucket(slots: slot..<slot + 1, count: count))
            }
        }
        (self.buckets, self.places) = (buckets, places)
        exponents = Array(repeating: nil, count: parameters.count)
        magnitudes = Array(repeating: 0, count: parameters.count)
        terms = magnitudes
    }

    /// Whether the exponents are known, which `calibrate` chooses before the first step.
    public var isCalibrated: Bool { exponents.contains { $0 != nil } }

    /// The exponents by parameter name, part of the state of a run.
    public var exponentsByName: [String: Int] {
        get {
            let known = zip(parameters, exponents).compactMap { parameter, exponent in
                exponent.map { (parameter.name, $0) }
            }
            return Dictionary(uniqueKeysWithValues: known)
        }
        set { exponents = parameters.map { newValue[$0.name] } }
    }

    // MARK: Accumulating

    /// Starts a new sum.
    public func reset() {
        for slot in parameters.indices { (magnitudes[slot], terms[slot]) = (0, 0) }
        infiniteTerms = 0
    }

    /// Runs `backward`, whose gradients are added to the sums and not to the parameters.
    public func adding<Result>(_ backward: () throws -> Result) rethrows -> Result {
        try receiving({ slot, gradient in self.add(gradient, to: slot) }, backward)
    }

    /// Chooses the exponents from the gradients of one micro-batch.
    ///
    /// - Parameters:
    ///   - count: the micro-batches of a step.
    ///   - backward: computes the gradients, which are dropped.
    /// - Returns: the result of `backward`.
    public func calibrate<Result>(microBatches count: Int, _ backward: () throws -> Result) rethrows -> Result {
        var largest = [Double](repeating: 0, count: parameters.count)
        let result = try receiving(
            { slot, gradient in largest[slot] += Double(gradient.largestMagnitude) }, backward)
        for slot in parameters.indices {
            exponents[slot] = Self.exponent(for: largest[slot] * Double(count)) ?? Self.defaultExponent
        }
        return result
    }

    private func receiving<Result>(
        _ receive: @escaping (Int, Tensor) -> Void, _ backward: () throws -> Result
    ) rethrows -> Result {
        for (slot, parameter) in parameters.enumerated() {
            parameter.gradientReceiver = { receive(slot, $0) }
        }
        defer { for parameter in parameters { parameter.gradientReceiver = nil } }
        return try backward()
    }

    private func add(_ gradient: Tensor, to slot: Int) {
        let exponent = exponents[slot] ?? Self.defaultExponent
        let largest = Threads.largest(gradient.count, grain: Self.grain) { [target = sums(of: slot), terms] range in
            kernels.fixed_point_add(
                target + range.lowerBound, gradient.pointer + range.lowerBound, Self.scale(exponent), terms[slot] == 0,
                range.count)
        }
        terms[slot] += 1
        let magnitude = Double(Float(bitPattern: largest)) * Double(Self.scale(exponent))
        guard magnitude.isFinite else { return infiniteTerms += 1 }
        magnitudes[slot] += Int64(min(magnitude.rounded(.up), Self.largestMagnitude))
    }

    /// Elements of a task: some microseconds of work.
    private static let grain = 1 << 15

    private func sums(of slot: Int) -> UnsafeMutablePointer<Int32> {
        let (bucket, first) = places[slot]
        return pointer(bucket) + first
    }

    /// The sums of a bucket, allocated at the first use.
    private func pointer(_ bucket: Int) -> UnsafeMutablePointer<Int32> {
        let sums = buckets[bucket].sums ?? Tensor(unsafeUninitialized: [buckets[bucket].count])
        buckets[bucket].sums = sums
        return UnsafeMutableRawPointer(sums.pointer).assumingMemoryBound(to: Int32.self)
    }

    private static func scale(_ exponent: Int) -> Float { Float(sign: .plus, exponent: exponent, significand: 1) }

    /// The exponent for a sum of magnitudes; nil for 0.
    private static func exponent(for sum: Double) -> Int? {
        guard sum > 0, sum.isFinite else { return nil }
        // 2^k and 2^-k are normal numbers.
        return min(max(31 - headroom - (Int(sum.exponent) + 1), -126), 126)
    }

    // MARK: Reducing

    /// What decides the outcome of a step. Sums over all processes are passed to `finish`.
    public var summary: [Int64] { [infiniteTerms] + magnitudes + terms }

    /// Decides whether the sums can be used, and chooses the exponents of the next step.
    ///
    /// - Parameter summary: the sums of all processes' `summary`.
    /// - Returns: `.complete` if `reduce` and `gradients` may follow.
    public func outcome(of summary: [Int64]) -> Outcome {
        let count = parameters.count
        precondition(summary.count == 2 * count + 1, "gradients: \(summary.count) values of \(count) parameters")
        guard summary[0] == 0 else { return .notFinite }
        let sums = summary[1...count]
        let overflows = sums.contains { $0 > Int64(Int32.max) }
        used = exponents
        for (slot, sum) in zip(parameters.indices, sums) where !overflows || sum > Int64(Int32.max) {
            let exponent = exponents[slot] ?? Self.defaultExponent
            exponents[slot] = Self.exponent(for: Double(sum) * Double(Self.scale(-exponent))) ?? exponents[slot]
        }
        hasGradient = summary[(count + 1)...].map { $0 > 0 }
        return overflows ? .overflow : .complete
    }

    /// The exponents of the accumulated sums, and whether a process has a gradient, by slot.
    private var used: [Int?] = []
    private var hasGradient: [Bool] = []

    /// Calls `body` for the integers of each group of parameters, to add up those of all processes.
    public func forEachBucket(_ body: (UnsafeMutableBufferPointer<Int32>) throws -> Void) rethrows {
        for index in buckets.indices where buckets[index].slots.contains(where: { hasGradient[$0] }) {
            let address = pointer(index)
            // Sums of parameters without a term in this process are not initialized.
            for slot in buckets[index].slots where terms[slot] == 0 {
                (address + places[slot].first).update(repeating: 0, count: parameters[slot].value.count)
            }
            try body(UnsafeMutableBufferPointer(start: address, count: buckets[index].count))
        }
    }

    /// Sets the gradients of the parameters to the sums. They share their memory, and are to be removed before the next
    /// sum.
    public func setGradients() {
        for slot in parameters.indices where hasGradient[slot] {
            let (bucket, first) = places[slot]
            let integers = sums(of: slot), scale = Self.scale(-(used[slot] ?? Self.defaultExponent))
            let gradient = buckets[bucket].sums?.part(from: first, shape: parameters[slot].shape)
            if let values = gradient?.pointer {
                Threads.parallelFor(parameters[slot].value.count, grain: Self.grain) { range in
                    kernels.float_from_fixed_point(
                        integers + range.lowerBound, scale, values + range.lowerBound, range.count)
                }
            }
            parameters[slot].gradient = gradient
        }
    }
}

extension Tensor {
    /// The largest magnitude; NaN or infinite if a value is.
    fileprivate var largestMagnitude: Float {
        let bits = withUnsafeBufferPointer { values in
            values.reduce(0 as UInt32) { max($0, $1.bitPattern & 0x7fff_ffff) }
        }
        return Float(bitPattern: bits)
    }
}

extension Threads {
    /// The largest result of `body` over ranges that cover `0..<n`.
    fileprivate static func largest(_ n: Int, grain: Int, _ body: (Range<Int>) -> UInt32) -> UInt32 {
        let largest = Atomic<UInt32>(0)
        parallelFor(n, grain: grain) { range in
            largest.max(body(range), ordering: .relaxed)
        }
        return largest.load(ordering: .relaxed)
    }
}

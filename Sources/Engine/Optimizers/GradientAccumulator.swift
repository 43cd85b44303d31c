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
    /// What the accumulated gradients can be used for.
    public enum Outcome: Equatable, Sendable {
        /// They are complete.
        case complete
        /// A sum may have exceeded 32 bits. The exponents are changed; accumulate the same gradients again.
        case overflow
        /// A gradient is infinite or NaN.
        case notFinite
    }

    /// Adds up the integers of all processes in place. With counts, process r needs only its part, `counts[r]` values.
    public typealias Reduction = (_ sums: UnsafeMutableBufferPointer<Int32>, _ counts: [Int]?) throws -> Void

    /// The division of the sums among processes; nil where every process needs all of them.
    public let shards: OptimizerShards?

    private let parameters: [Parameter]
    private var buckets: GradientBuckets
    /// k, by slot, the index of a parameter; nil before the first gradient.
    private var exponents: [Int?]
    /// By slot: sums of the largest magnitudes of this process's terms, in units of 2^-k, rounded up.
    private var magnitudes: [Int64]
    /// By slot: the number of this process's terms.
    private var terms: [Int64]
    private var infiniteTerms: Int64 = 0
    /// The exponents of the accumulated sums, and whether a process has a gradient, by slot.
    private var used: [Int?] = []
    private var hasGradient: [Bool] = []

    private static let headroom = 4
    /// For parameters whose first gradient is 0.
    private static let defaultExponent = 40
    /// Larger magnitudes are counted as this one, so that no sum of magnitudes overflows.
    private static let largestMagnitude = 0x1p40

    /// - Parameters:
    ///   - parameters: those that get gradients.
    ///   - process: the number of this process and of all, to divide the sums among them; nil for complete sums.
    public init(_ parameters: [Parameter], dividedAmong process: (rank: Int, count: Int)? = nil) {
        self.parameters = parameters
        let counts = parameters.map(\.value.count)
        let groups = GradientBuckets.groups(counts)
        shards = process.map { OptimizerShards(counts, groups: groups, process: $0) }
        buckets = GradientBuckets(counts, groups: groups, shards: shards)
        exponents = Array(repeating: nil, count: parameters.count)
        magnitudes = Array(repeating: 0, count: parameters.count)
        terms = magnitudes
    }

    /// Whether `calibrate` must come before the first sum.
    public var needsCalibration: Bool {
        !exponents.contains { $0 != nil } || shards != nil && !buckets.knowsOrder
    }

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
    ///
    /// - Parameters:
    ///   - reduction: with the last micro-batch of this process. Divided sums are reduced as soon as they are complete,
    ///     so that they are not all in memory at once.
    ///   - backward: computes the gradients.
    /// - Returns: the result of `backward`.
    /// - Throws: what `backward` and `reduction` throw.
    public func adding<Result>(
        reducing reduction: Reduction? = nil, _ backward: () throws -> Result
    ) throws -> Result {
        let reduction = shards == nil ? nil : reduction
        var failure: (any Error)?
        if reduction != nil { buckets.startOrder() }
        let result = try receiving(
            { slot, gradient in
                self.add(gradient, to: slot)
                guard let reduction, failure == nil else { return }
                do {
                    for bucket in self.buckets.completed(by: slot) { try self.reduce(bucket, reduction) }
                } catch {
                    // The backward pass cannot be left.
                    failure = error
                }
            }, backward)
        if let failure { throw failure }
        return result
    }

    /// Chooses the exponents, unless they are known, from the gradients of one micro-batch.
    ///
    /// - Parameters:
    ///   - count: the micro-batches of a step.
    ///   - backward: computes the gradients, which are dropped.
    /// - Returns: the result of `backward`.
    public func calibrate<Result>(microBatches count: Int, _ backward: () throws -> Result) rethrows -> Result {
        var largest = [Double](repeating: 0, count: parameters.count), order: [Int] = []
        let result = try receiving(
            { slot, gradient in
                largest[slot] += Double(gradient.largestMagnitude)
                order.append(slot)
            }, backward)
        buckets.setOrder(order)
        guard !exponents.contains(where: { $0 != nil }) else { return result }
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
        let largest = Threads.largest(gradient.count, grain: Self.grain) {
            [target = buckets.sums(of: slot), terms] range in
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

    private static func scale(_ exponent: Int) -> Float { Float(sign: .plus, exponent: exponent, significand: 1) }

    /// The exponent for a sum of magnitudes; nil for 0.
    private static func exponent(for sum: Double) -> Int? {
        guard sum > 0, sum.isFinite else { return nil }
        // 2^k and 2^-k are normal numbers.
        return min(max(31 - headroom - (Int(sum.exponent) + 1), -126), 126)
    }

    // MARK: Reducing

    /// What decides the outcome of a step. Sums over all processes are passed to `outcome(of:)`.
    public var summary: [Int64] { [infiniteTerms] + magnitudes + terms }

    /// Decides whether the sums can be used, and chooses the exponents of the next step.
    ///
    /// - Parameter summary: the sums of all processes' `summary`.
    /// - Returns: `.complete` if `reduce` and `setGradients` may follow.
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

    /// Adds up the sums of all processes that are not reduced yet.
    ///
    /// - Throws: what `reduction` throws.
    public func reduce(_ reduction: Reduction) throws {
        for index in buckets.indices where buckets.isPending(index) || shards == nil && hasGradient(in: index) {
            try reduce(index, reduction)
        }
    }

    private func hasGradient(in bucket: Int) -> Bool { buckets.slots(bucket).contains { hasGradient[$0] } }

    private func reduce(_ index: Int, _ reduction: Reduction) throws {
        // Sums of parameters without a term in this process are not initialized.
        for slot in buckets.slots(index) where terms[slot] == 0 {
            buckets.sums(of: slot).update(repeating: 0, count: parameters[slot].value.count)
        }
        try buckets.reduce(index, reduction)
    }

    /// Sets the gradients of the parameters to the sums; of divided sums, to those of this process's elements, shape
    /// `[elements]`. They share the memory of the sums, and are to be removed before the next sum.
    public func setGradients() {
        for slot in parameters.indices where hasGradient[slot] {
            let shape = shards.map { [$0.own[slot].count] } ?? parameters[slot].shape
            let gradient = buckets.reduced(slot, shape: shape), values = gradient.pointer
            let scale = Self.scale(-(used[slot] ?? Self.defaultExponent))
            Threads.parallelFor(gradient.count, grain: Self.grain) { range in
                let part = values + range.lowerBound
                part.withMemoryRebound(to: Int32.self, capacity: range.count) {
                    kernels.float_from_fixed_point($0, scale, part, range.count)
                }
            }
            parameters[slot].gradient = gradient
        }
    }

    /// Sends the values of every process's elements to all others, after an update of divided parameters.
    ///
    /// - Parameter share: sends part r of the values from process r to all others.
    /// - Throws: what `share` throws.
    public func shareValues(_ share: (UnsafeMutableBufferPointer<Int32>, _ counts: [Int]) throws -> Void) throws {
        for index in buckets.indices { try buckets.shareValues(index, of: parameters, share) }
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

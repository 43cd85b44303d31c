// SPDX-License-Identifier: Apache-2.0
// Seeded random numbers: Philox 4x32-10. A value is a function of (seed, stream, index) only.

import CKernels

/// A counter-based random stream (Salmon et al. 2011): reproducible for any number of threads, resumable by position.
public struct Philox: Sendable, Codable, Equatable {
    public let seed: UInt64
    public let stream: UInt64
    /// The index of the next value; store it to resume.
    public var position: UInt64

    public init(seed: UInt64, stream: UInt64 = 0, position: UInt64 = 0) {
        self.seed = seed
        self.stream = stream
        self.position = position
    }

    /// Advances to the next multiple of four. Normal and uniform values of the same block of four use the same random
    /// words; values before and after this call share none.
    public mutating func skipToBlock() { position = (position + 3) / 4 * 4 }

    /// Standard normal values.
    public mutating func normal(_ shape: [Int]) -> Tensor { fill(shape, with: bf_philox_normal) }

    /// Uniform values in [0, 1).
    public mutating func uniform(_ shape: [Int]) -> Tensor { fill(shape, with: bf_philox_uniform) }

    /// One uniform value in [0, 1), 24 bits.
    public mutating func nextUniform() -> Float {
        var value: Float = 0
        bf_philox_uniform(seed, stream, position, &value, 1)
        position += 1
        return value
    }

    /// One standard normal value.
    public mutating func nextNormal() -> Float {
        var value: Float = 0
        bf_philox_normal(seed, stream, position, &value, 1)
        position += 1
        return value
    }

    /// An integer in `0..<bound`.
    public mutating func nextInt(below bound: Int) -> Int {
        precondition(bound > 0, "nextInt: bound \(bound) is not positive")
        return min(Int(Double(nextUniform()) * Double(bound)), bound - 1)
    }

    private mutating func fill(
        _ shape: [Int],
        with generate: @Sendable (UInt64, UInt64, UInt64, UnsafeMutablePointer<Float>?, Int) -> Void
    ) -> Tensor {
        let result = Tensor(unsafeUninitialized: shape)
        let (seed, stream, first) = (seed, stream, position)
        Threads.parallelFor(result.count, grain: 4096) { range in
            generate(
                seed, stream, first + UInt64(range.lowerBound), result.pointer + range.lowerBound, range.count
            )
        }
        position += UInt64(result.count)
        return result
    }
}

/// The 64-bit FNV-1a hash of a string's UTF-8 bytes (Fowler, Noll, Vo): the same on every platform and run.
public func fnv1a(_ text: String) -> UInt64 {
    text.utf8.reduce(0xcbf2_9ce4_8422_2325) { hash, byte in
        (hash ^ UInt64(byte)) &* 0x0000_0100_0000_01b3
    }
}

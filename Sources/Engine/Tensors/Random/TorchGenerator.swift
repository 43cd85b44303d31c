// SPDX-License-Identifier: Apache-2.0
// The random numbers of PyTorch's CPU generator: the Mersenne Twister MT19937 (Matsumoto, Nishimura 1998) and the
// normal distribution of `torch.randn`, so that a seed gives diffusers' initial noise.

import Foundation

/// What `torch.Generator("cpu").manual_seed(seed)` draws.
///
/// `normal` equals `torch.randn(shape, generator=generator)` in float32 bit for bit with PyTorch 2.15 on x86 with AVX2.
/// PyTorch on other processors differs from it by rounding errors (up to 2e-6): there it computes logarithm, sine and
/// cosine with other functions.
public struct TorchGenerator: Sendable {
    private var twister: MersenneTwister
    /// The second normal value of a pair, which a later draw of fewer than 16 values uses.
    private var nextNormal: Double?

    /// A generator with the seed of `manual_seed`, which uses the lower 32 bits only.
    public init(seed: UInt64) {
        twister = MersenneTwister(seed: UInt32(truncatingIfNeeded: seed))
    }

    /// Standard normal values, the next ones of this generator.
    public mutating func normal(_ shape: [Int]) -> Tensor {
        let count = shape.reduce(1, *)
        return Tensor(count < 16 ? pairs(count) : blocks(count), shape: shape)
    }

    /// Fewer than 16 values: Box-Muller in double precision, one value after the other.
    private mutating func pairs(_ count: Int) -> [Float] {
        (0..<count).map { _ in
            if let value = nextNormal {
                nextNormal = nil
                return Float(value)
            }
            let angle = 2 * Double.pi * twister.uniformDouble()
            let radius = (-2 * log1p(-twister.uniformDouble())).squareRoot()
            nextNormal = radius * sin(angle)
            return Float(radius * cos(angle))
        }
    }

    /// 16 and more values: uniform values everywhere, then Box-Muller in blocks of 16, where value i and value i + 8
    /// are a pair. If the last block would be incomplete, the last 16 values are drawn again.
    private mutating func blocks(_ count: Int) -> [Float] {
        var values = (0..<count).map { _ in twister.uniformFloat() }
        values.withUnsafeMutableBufferPointer { values in
            for start in stride(from: 0, through: count - 16, by: 16) { Self.transform(values, start) }
            guard count % 16 != 0 else { return }
            for index in count - 16..<count { values[index] = twister.uniformFloat() }
            Self.transform(values, count - 16)
        }
        return values
    }

    private static func transform(_ values: UnsafeMutableBufferPointer<Float>, _ start: Int) {
        for index in start..<start + 8 {
            let radius = (-2 * CephesFloat.log(1 - values[index])).squareRoot()
            let (sine, cosine) = CephesFloat.sincos(Float(2 * Double.pi) * values[index + 8])
            // Adding the mean 0 turns -0 into 0.
            values[index] = radius * cosine + 0
            values[index + 8] = radius * sine + 0
        }
    }
}

/// MT19937.
private struct MersenneTwister: Sendable {
    private static let size = 624, offset = 397
    private var state: [UInt32]
    private var position = MersenneTwister.size

    init(seed: UInt32) {
        state = [seed]
        for index in 1..<UInt32(Self.size) {
            let last = state[Int(index) - 1]
            state.append(1_812_433_253 &* (last ^ (last >> 30)) &+ index)
        }
    }

    mutating func next() -> UInt32 {
        if position == Self.size { advance() }
        var value = state[position]
        position += 1
        value ^= value >> 11
        value ^= (value << 7) & 0x9D2C_5680
        value ^= (value << 15) & 0xEFC6_0000
        return value ^ (value >> 18)
    }

    /// 24 bits in [0, 1).
    mutating func uniformFloat() -> Float { Float(next() & 0xFF_FFFF) / 0x100_0000 }

    /// 53 bits in [0, 1).
    mutating func uniformDouble() -> Double {
        let high = UInt64(next()) << 32
        return Double((high | UInt64(next())) & (1 << 53 - 1)) / 0x20_0000_0000_0000
    }

    private mutating func advance() {
        for index in 0..<Self.size {
            let mixed = (state[index] & 0x8000_0000) | (state[(index + 1) % Self.size] & 0x7FFF_FFFF)
            state[index] =
                state[(index + Self.offset) % Self.size] ^ (mixed >> 1) ^ (mixed & 1 == 0 ? 0 : 0x9908_B0DF)
        }
        position = 0
    }
}

/// Logarithm, sine and cosine in single precision as in Cephes (Moshier 1989), whose polynomials PyTorch evaluates with
/// AVX2. The fused multiply-adds are at the places where its compiler puts them, found by comparison of bits.
private enum CephesFloat {
    /// The natural logarithm of a normal number > 0.
    static func log(_ value: Float) -> Float {
        // value = 2^exponent (1 + x), where 1 + x is in [sqrt(1/2), sqrt(2)).
        var exponent = Float(value.exponent + 1), x = value.significand / 2
        if x < 0.707106781186547524 {
            exponent -= 1
            x = (x - 1) + x
        } else {
            x -= 1
        }
        let square = x * x
        var y: Float = 7.0376836292e-2
        for coefficient in logCoefficients { y = coefficient.addingProduct(y, x) }
        y = (exponent * -2.12194440e-4).addingProduct(y * x, square)
        y -= 0.5 * square
        return (x + y).addingProduct(exponent, 0.693359375)
    }

    private static let logCoefficients: [Float] = [
        -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1,
        -2.4999993993e-1, 3.3333331174e-1,
    ]

    /// Sine and cosine of an angle in 0...8192.
    static func sincos(_ angle: Float) -> (sine: Float, cosine: Float) {
        // The octant, rounded up to an even number, and the angle from there in [-pi/4, pi/4].
        let octant = (Int32(angle * 1.27323954473516) + 1) & ~1
        let turns = Float(octant)
        let x = angle.addingProduct(turns, -0.78515625).addingProduct(turns, -2.4187564849853515625e-4)
            .addingProduct(turns, -3.77489497744594108e-8)
        let square = x * x
        let cosineTail = (4.166664568298827e-2 as Float).addingProduct(
            (-1.388731625493765e-3 as Float).addingProduct(2.443315711809948e-5, square), square)
        let evenPart = (-(0.5 * square)).addingProduct(cosineTail * square, square) + 1
        let sineTail = (-1.6666654611e-1 as Float).addingProduct(
            (8.3321608736e-3 as Float).addingProduct(-1.9515295891e-4, square), square)
        let oddPart = x.addingProduct(sineTail * square, x)
        let (sine, cosine) = octant & 2 == 0 ? (oddPart, evenPart) : (evenPart, oddPart)
        return (octant & 4 == 0 ? sine : -sine, (octant - 2) & 4 == 0 ? -cosine : cosine)
    }
}

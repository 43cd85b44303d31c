// SPDX-License-Identifier: Apache-2.0
// Numbers that Python and Swift both compute from a name, so that fixtures need not store weights or inputs.
// The twin of Tests/Fixtures/fixture_values.py; bit by bit the same.

import Foundation
import Layers
import Tensors

/// Values in [-1, 1) that depend on `name` and on their position: SplitMix64 of (FNV-1a of the name, position).
public func fixtureUniform(_ name: String, _ shape: [Int]) -> [Float] {
    let base = fnv1a(name)
    return (0..<shape.reduce(1, *)).map { index in
        var state = UInt64(index + 1) &* 0x9e37_79b9_7f4a_7c15 &+ base
        state = (state ^ (state >> 30)) &* 0xbf58_476d_1ce4_e5b9
        state = (state ^ (state >> 27)) &* 0x94d0_49bb_1331_11eb
        state ^= state >> 31
        return Float(state >> 40) / Float(1 << 23) - 1
    }
}

/// As `fixtureUniform`, with variance 1.
public func fixtureUnit(_ name: String, _ shape: [Int]) -> Tensor {
    Tensor(fixtureUniform(name, shape).map { $0 * Float(3.0.squareRoot()) }, shape: shape)
}

/// Parameters of variance 1 / fan-in, gains around 1, biases around 0.
public struct FixtureParameterProvider: ParameterProvider {
    public init() {}

    public func weight(_ key: String, shape: [Int], initializer: Initializer) -> any WeightSource {
        var values = fixtureUniform(key, shape)
        if shape.count > 1 {
            let bound = Float((3.0 / Double(shape.dropFirst().reduce(1, *))).squareRoot())
            values = values.map { $0 * bound }
        } else {
            values = values.map { $0 * 0.125 + (key.hasSuffix(".weight") ? 1 : 0) }
        }
        return Parameter(key, Tensor(values, shape: shape))
    }
}

/// Decodes `Fixtures/<name>.json` of the test target whose `Bundle.module` is `bundle`.
public func fixture<Document: Decodable>(
    _ name: String, in bundle: Bundle, as type: Document.Type = Document.self
) throws -> Document {
    let url = bundle.bundleURL.appendingPathComponent("Fixtures/\(name).json")
    return try JSONDecoder().decode(Document.self, from: Data(contentsOf: url))
}

// SPDX-License-Identifier: Apache-2.0
// Moments in bfloat16: they follow the moments in Float32, whereas with rounding to nearest they would not change.

import Checkpoints
import Foundation
import Tensors
import TestKit
import Testing

@testable import Optimizers
@testable import QAT

@Suite struct AdamWMomentTests {
    private func optimizer(
        _ parameter: Parameter, _ type: ElementType, beta2: Float = 0.999, learningRate: Float = 1e-3
    ) -> AdamW {
        AdamW(
            [ParameterGroup([parameter], learningRate: learningRate)], beta2: beta2, momentType: type, seed: 5
        )
    }

    @Test("the second moment decays as in Float32, and would not with rounding to nearest")
    func noStall() throws {
        let n = 4096, updates = 1000
        let parameter = Parameter("p", .zeros([n]))
        let optimizer = optimizer(parameter, .bfloat16)
        optimizer.restore("p", first: .zeros([n]), second: .ones([n]))
        // 0.999 · 1 + 0.001 · 0.25 is nearer to 1 than to the next lower bfloat16.
        var nearest: Float = 1
        var expected = 1.0
        for _ in 0..<updates {
            parameter.gradient = .full([n], 0.5)
            optimizer.update(factor: 1, maximumNorm: nil)
            let exact = 0.999 * nearest + 0.001 * 0.25
            let bits = [exact].withUnsafeBufferPointer { Float16Bits.encode($0, .bfloat16) }
            nearest = Weight16(name: "v", bits: bits, shape: [1], type: .bfloat16).tensor().item
            expected = 0.999 * expected + 0.001 * 0.25
        }
        #expect(nearest == 1)
        let moments = try #require(optimizer.moments["p"])
        let relative = moments.second.values.map { Double($0) / expected - 1 }
        let mean = relative.reduce(0, +) / Double(n)
        let deviation = (relative.reduce(0) { $0 + $1 * $1 } / Double(n)).squareRoot()
        // The bound that AdamW's documentation derives.
        let bound = 0x1p-8 / (2 * (1 - 0.999)).squareRoot()
        #expect(deviation < bound)
        #expect(abs(mean) < 4 * bound / Double(n).squareRoot(), "mean \(mean)")
        expectClose(
            moments.first.values, [Float](repeating: 0.5, count: n), .init(absolute: 0.02, relative: 0))
    }

    @Test("noisy least squares reach the same loss with moments of both types")
    func sameResult() {
        func loss(_ type: ElementType) -> Float {
            let parameter = Parameter("p", .zeros([64, 8]))
            var random = Philox(seed: 1)
            let target = random.normal([64, 8])
            let optimizer = optimizer(parameter, type, learningRate: 0.02)
            for _ in 0..<400 {
                let noisy = target + random.normal([64, 8]) * 0.5
                meanSquaredError(parameter.tensor(), noisy).backward()
                optimizer.update(factor: 1, maximumNorm: 1)
            }
            return meanSquaredError(parameter.value, target).item
        }
        let (full, half) = (loss(.float32), loss(.bfloat16))
        #expect(full < 0.02)
        #expect(abs(half - full) < 0.1 * full, "\(half) against \(full)")
    }

    @Test("the rounding depends on seed and update alone")
    func reproducible() {
        func moments(seed: UInt64) -> [Float] {
            let parameter = Parameter("p", .zeros([1000]))
            let optimizer = AdamW(
                [ParameterGroup([parameter], learningRate: 1)], momentType: .bfloat16, seed: seed)
            for stream in 0..<3 {
                var random = Philox(seed: 9, stream: UInt64(stream))
                parameter.gradient = random.normal([1000])
                optimizer.update(factor: 1, maximumNorm: nil)
            }
            return optimizer.moments["p"]?.second.values ?? []
        }
        #expect(moments(seed: 1) == moments(seed: 1))
        #expect(moments(seed: 1) != moments(seed: 2))
    }

    @Test("moments in float16 trap")
    func float16() async {
        await #expect(processExitsWith: .failure) { _ = AdamW([], momentType: .float16) }
    }

    @Test(
        "norm, values, moments and averages are bit-equal for any number of threads",
        arguments: [ElementType.float32, .bfloat16])
    func threads(type: ElementType) async {
        // In a separate process: all tests share the number of threads.
        await #expect(processExitsWith: .success) { [type] in
            let runs = [1, 2, 3].map { threads -> [[Float]] in
                Threads.count = threads
                return threeSteps(type)
            }
            precondition(runs[0] == runs[1] && runs[0] == runs[2], "the number of threads shows")
            precondition(runs[0][0].allSatisfy { $0 > 5 }, "gradients are clipped")
        }
    }
}

/// Norms, then values, moments and averages of parameters of all sizes after three steps.
private func threeSteps(_ type: ElementType) -> [[Float]] {
    let shapes = [[3], [70_001], [1, 1], [0], [400, 300], [17]] + (0..<40).map { [$0 + 1] }
    var random = Philox(seed: 4)
    let parameters = shapes.enumerated().map { Parameter("p\($0.offset)", random.normal($0.element)) }
    let average = ExponentialMovingAverage(of: parameters, decay: 0.9)
    let optimizer = AdamW(
        [
            ParameterGroup(Array(parameters[..<3]), learningRate: 0.1, minimum: -0.5),
            ParameterGroup(Array(parameters[3...]), learningRate: 0.2, weightDecay: 0.1),
        ], momentType: type)
    var norms: [Float] = []
    for step in 0..<3 {
        // A third of the parameters has no gradient in each step.
        for (index, parameter) in parameters.enumerated() where index % 3 != step {
            parameter.gradient = random.normal(parameter.shape)
        }
        norms.append(optimizer.update(factor: 1, maximumNorm: 5, average: average, step: step))
    }
    return [norms] + parameters.map(\.value.values)
        + parameters.flatMap { parameter in
            [
                optimizer.moments[parameter.name]?.first.values ?? [],
                optimizer.moments[parameter.name]?.second.values ?? [],
                average.averages[parameter.name]?.values ?? [],
            ]
        }
}

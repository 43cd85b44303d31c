// SPDX-License-Identifier: Apache-2.0
// AdamW and gradient clipping against torch.optim.AdamW; numbers from Tests/Fixtures/make_optimizer_fixtures.py.

import Foundation
import Tensors
import TestKit
import Testing

@testable import Optimizers
@testable import QAT

private struct AdamWCase: Decodable {
    struct Step: Decodable {
        let factor: Float
        let gradients: [[Float]]
        let norm: Double
        let values: [[Double]]
    }

    let beta1, beta2: Float
    let rates, decays: [Float]
    let maximumNorm: Float?
    let shapes: [[Int]]
    let start: [[Float]]
    let steps: [Step]

    private struct File: Decodable { let cases: [AdamWCase] }

    static func load() throws -> [AdamWCase] {
        let url = Bundle.module.bundleURL.appendingPathComponent("Fixtures/adamw.json")
        return try JSONDecoder().decode(File.self, from: Data(contentsOf: url)).cases
    }
}

@Suite(.tags(.golden)) struct AdamWTests {
    @Test("six steps of two groups equal PyTorch's, with weight decay and clipping")
    func golden() throws {
        let cases = try AdamWCase.load()
        #expect(cases.count == 3)
        for golden in cases {
            let parameters = zip(golden.start, golden.shapes).enumerated().map {
                Parameter("p\($0.offset)", Tensor($0.element.0, shape: $0.element.1))
            }
            let optimizer = AdamW(
                [
                    ParameterGroup(
                        Array(parameters[..<2]), learningRate: golden.rates[0], weightDecay: golden.decays[0]),
                    ParameterGroup(
                        Array(parameters[2...]), learningRate: golden.rates[1], weightDecay: golden.decays[1]),
                ], beta1: golden.beta1, beta2: golden.beta2)
            for (index, step) in golden.steps.enumerated() {
                for (parameter, gradient) in zip(parameters, step.gradients) {
                    parameter.gradient = Tensor(gradient, shape: parameter.shape)
                }
                let norm = optimizer.update(factor: step.factor, maximumNorm: golden.maximumNorm)
                #expect(abs(Double(norm) - step.norm) < 1e-5 * step.norm)
                for (position, (parameter, expected)) in zip(parameters, step.values).enumerated() {
                    // A step changes a value by at most a few learning rates, with a few roundings. The value, of order
                    // 1, is rounded at each step.
                    let rate = Double(golden.rates[position < 2 ? 0 : 1])
                    let tolerance = Tolerance(
                        absolute: (20 * rate + 2) * Tolerance.unitRoundoff * Double(index + 1),
                        relative: Double(index + 1) * 2 * Tolerance.unitRoundoff)
                    expectClose(
                        parameter.value.values, expected, tolerance, "step \(index), parameter \(position)")
                    #expect(parameter.gradient == nil)
                }
            }
            #expect(optimizer.updates == golden.steps.count)
        }
    }

    @Test("a parameter without a gradient and its moments do not change")
    func withoutGradient() {
        let (moved, stays) = (Parameter("moved", .ones([3])), Parameter("stays", .ones([3])))
        let optimizer = AdamW([ParameterGroup([moved, stays], learningRate: 0.1, weightDecay: 0.5)])
        moved.gradient = .ones([3])
        #expect(optimizer.update(factor: 1, maximumNorm: nil) == Float(3).squareRoot())
        #expect(stays.value.values == [1, 1, 1])
        #expect(optimizer.moments["stays"]?.first.values == [0, 0, 0])
        #expect(moved.value.values != [1, 1, 1])
    }

    @Test("gradients that are not finite change nothing", arguments: [Float.nan, .infinity, 1e30])
    func notFinite(gradient: Float) {
        let parameter = Parameter("p", .ones([2]))
        let optimizer = AdamW([ParameterGroup([parameter], learningRate: 0.1)])
        parameter.gradient = Tensor([gradient, 1], shape: [2])
        #expect(!optimizer.update(factor: 1, maximumNorm: 1).isFinite)
        #expect(parameter.value.values == [1, 1])
        #expect(optimizer.updates == 0)
        #expect(optimizer.moments["p"]?.second.values == [0, 0])
    }

    @Test("values stay above a group's minimum")
    func minimum() {
        let parameter = Parameter("p", Tensor([1, 0.25, 0.01], shape: [3]))
        let optimizer = AdamW([ParameterGroup([parameter], learningRate: 0.125, minimum: 0.2)])
        parameter.gradient = Tensor([1, 1, -1], shape: [3])
        optimizer.update(factor: 1, maximumNorm: nil)
        // The first step of Adam is one learning rate for any gradient.
        expectClose(parameter.value.values, [0.875, 0.2, 0.2] as [Float], .roundings(8))
    }

    @Test("a parameter in two groups traps")
    func twice() async {
        await #expect(processExitsWith: .failure) {
            let parameter = Parameter("p", .ones([2]))
            let group = ParameterGroup([parameter], learningRate: 1)
            _ = AdamW([group, group])
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Operations and their gradients against PyTorch in float64. The numbers come from
// Tests/Fixtures/make_tensor_fixtures.py.

import Foundation
import TestKit
import Testing

@testable import Tensors

/// One operation of PyTorch with inputs, output and gradients.
struct GoldenCase: Decodable, Sendable {
    struct Values: Decodable, Sendable {
        let shape: [Int]
        let values: [Double]

        var tensor: Tensor { Tensor(values.map(Float.init), shape: shape) }
    }

    struct Options: Decodable, Sendable {
        var name: String?
        var stride, groups, heads, height, width: Int?
        var paddings: [Int]?
        var silu, causal: Bool?
        var scale: Float?
    }

    let options: Options
    let inputs: [Values]
    let upstream: Values
    let output: Values
    let gradients: [Values]

    private struct File: Decodable { let cases: [GoldenCase] }

    /// The cases of `Fixtures/<name>.json`.
    static func cases(_ name: String) throws -> [GoldenCase] {
        let url = Bundle.module.bundleURL.appendingPathComponent("Fixtures/\(name).json")
        return try JSONDecoder().decode(File.self, from: Data(contentsOf: url)).cases
    }

    /// Runs `operation` forward and backward and compares output and gradients.
    func check(_ label: String, _ operation: ([Tensor]) throws -> Tensor) rethrows {
        let parameters = inputs.enumerated().map { Parameter("input \($0.offset)", $0.element.tensor) }
        let result = try operation(parameters.map { $0.tensor() })
        let label = "\(label) \(options)"
        #expect(result.shape == output.shape, "\(label)")
        expectClose(result.values, output.values, .float32Golden, label)
        result.backward(upstream.tensor)
        for (parameter, gradient) in zip(parameters, gradients) {
            #expect(parameter.gradient?.shape == gradient.shape, "\(label)")
            // Gradients of parameters are sums over all pixels: errors are relative to the largest gradient.
            let largest = gradient.values.reduce(1) { max($0, abs($1)) }
            expectClose(
                parameter.gradient?.values ?? [], gradient.values, .float32Golden.scaled(by: largest),
                "\(label), gradient of \(parameter.name)")
        }
    }
}

@Suite(.tags(.golden)) struct GoldenTests {
    @Test("conv2d agrees with PyTorch")
    func convolution() throws {
        for golden in try GoldenCase.cases("conv2d") {
            let pads = try #require(golden.options.paddings)
            let stride = try #require(golden.options.stride)
            golden.check("conv2d") {
                conv2d(
                    $0[0], weight: $0[1], bias: $0[2], stride: stride,
                    padding: Padding(top: pads[0], left: pads[1], bottom: pads[2], right: pads[3]))
            }
        }
    }

    @Test("group normalization agrees with PyTorch, with and without SiLU")
    func groups() throws {
        for golden in try GoldenCase.cases("group-norm") {
            let groups = try #require(golden.options.groups)
            let silu = try #require(golden.options.silu as Bool?)
            golden.check("groupNorm") {
                groupNorm($0[0], groups: groups, weight: $0[1], bias: $0[2], epsilon: 1e-5, silu: silu)
            }
        }
    }

    @Test("layer normalization agrees with PyTorch, with and without parameters")
    func layers() throws {
        for golden in try GoldenCase.cases("layer-norm") {
            golden.check("layerNorm") {
                layerNorm($0[0], weight: $0.count > 1 ? $0[1] : nil, bias: $0.count > 1 ? $0[2] : nil)
            }
        }
    }

    @Test("attention agrees with PyTorch")
    func attention() throws {
        for golden in try GoldenCase.cases("attention") {
            let heads = try #require(golden.options.heads)
            golden.check("attention") {
                scaledDotProductAttention(
                    $0[0], $0[1], $0[2], heads: heads, causal: golden.options.causal ?? false,
                    scale: golden.options.scale)
            }
        }
    }

    @Test("activations, softmax and L2 normalization agree with PyTorch")
    func activations() throws {
        let operations: [String: (Tensor) -> Tensor] = [
            "silu": { $0.silu() }, "gelu": { $0.gelu() }, "quickGELU": { $0.quickGELU() }, "mish": { $0.mish() },
            "geglu": { $0.geglu() }, "softmax": { $0.softmax() }, "l2Normalized": { $0.l2Normalized() },
        ]
        let cases = try GoldenCase.cases("activations")
        #expect(cases.count == operations.count)
        for golden in cases {
            let operation = try #require(operations[golden.options.name ?? ""])
            golden.check("activation") { operation($0[0]) }
        }
    }

    @Test("nearest-neighbor resizing agrees with PyTorch, including odd sizes")
    func resizing() throws {
        for golden in try GoldenCase.cases("resizing") {
            let height = try #require(golden.options.height)
            let width = try #require(golden.options.width)
            golden.check("resizing") { $0[0].upsampledNearest(toHeight: height, width: width) }
        }
    }
}

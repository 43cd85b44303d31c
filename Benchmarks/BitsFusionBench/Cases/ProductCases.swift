// SPDX-License-Identifier: Apache-2.0
// Linear layers and attention with the shapes of Stable Diffusion 1.5's transformers.

import BitsFusion

enum ProductCases {
    /// Rows, inputs, outputs: self-attention at 64x64 pixels, a feed-forward network at 32x32 pixels, keys and values
    /// of the text, a time projection.
    private static let linears = [(4096, 320, 320), (1024, 640, 2560), (77, 768, 1280), (1, 1280, 1280)]
    /// Queries, keys; 8 heads of 40 channels: self-attention at 64x64 and 32x32 pixels, cross-attention to the text.
    private static let attentions = [(4096, 4096), (1024, 1024), (4096, 77)]
    private static let heads = 8, headDim = 40

    static var all: [BenchmarkCase] {
        linears.map { forward(rows: $0.0, inputs: $0.1, outputs: $0.2) }
            + linears.prefix(2).flatMap { shape in
                [false, true].map {
                    backward(rows: shape.0, inputs: shape.1, outputs: shape.2, trainsWeight: $0)
                }
            }
            + attentions.map { attention(queries: $0.0, keys: $0.1) }
            + [attentionBackward(queries: 1024, keys: 1024)]
    }

    private static func forward(rows: Int, inputs: Int, outputs: Int) -> BenchmarkCase {
        let name = "linear \(rows)x\(inputs)->\(outputs)"
        return BenchmarkCase(
            name: name, group: .kernels, operation: "linear",
            operations: 2 * Double(rows) * Double(inputs) * Double(outputs)
        ) {
            let layer = try linear(inputs: inputs, outputs: outputs, name)
            return layer.forward(RandomInputs(name).normal("x", [rows, inputs])) { layer($0) }
        }
    }

    /// A linear layer with random parameters; the path is "linear".
    static func linear(inputs: Int, outputs: Int, _ name: String) throws -> Linear {
        let random = RandomInputs(name)
        let parameters = TensorParameterProvider([
            "linear.weight": random.weight("weight", [outputs, inputs]),
            "linear.bias": random.normal("bias", [outputs], std: 0.1),
        ])
        return try Linear(
            ParameterPath(ParameterStore(provider: parameters), path: "linear"), in: inputs, out: outputs)
    }

    private static func backward(rows: Int, inputs: Int, outputs: Int, trainsWeight: Bool) -> BenchmarkCase {
        let to = trainsWeight ? "weight" : "data"
        let name = "linear to \(to) \(rows)x\(inputs)->\(outputs)"
        return BenchmarkCase(
            name: name, group: .kernels, operation: "linear_to_\(to)",
            operations: 2 * Double(rows) * Double(inputs) * Double(outputs), tolerances: .gradient
        ) {
            let random = RandomInputs(name)
            let x = Parameter("x", random.normal("x", [rows, inputs]), isTrainable: !trainsWeight)
            let weight = Parameter(
                "weight", random.weight("weight", [outputs, inputs]), isTrainable: trainsWeight)
            let gradient = random.normal("gradient", [rows, outputs])
            return .backward(
                inputs: ["x": x.value, "weight": weight.value, "gradient": gradient], gradient: gradient,
                of: trainsWeight ? weight : x
            ) { BitsFusion.linear(x.tensor(), weight: weight.tensor(), bias: nil) }
        }
    }

    private static func tokens(_ name: String, queries: Int, keys: Int) -> [String: Tensor] {
        let random = RandomInputs(name)
        let channels = heads * headDim
        return [
            "q": random.normal("q", [1, queries, channels]), "k": random.normal("k", [1, keys, channels]),
            "v": random.normal("v", [1, keys, channels]),
        ]
    }

    private static func attention(queries: Int, keys: Int) -> BenchmarkCase {
        attention(
            "attention \(queries)x\(keys), \(heads) heads of \(headDim)", .kernels, .output, queries: queries,
            keys: keys
        ) { scaledDotProductAttention($0, $1, $2, heads: heads) }
    }

    /// The attention of packed layers, which quantizes its inputs; PyTorch's is in floats.
    static func integerAttention(queries: Int, keys: Int) -> BenchmarkCase {
        attention(
            "integer attention \(queries)x\(keys), \(heads) heads of \(headDim)", .packed, .quantized, queries: queries,
            keys: keys
        ) { integerScaledDotProductAttention($0, $1, $2, heads: heads) }
    }

    private static func attention(
        _ name: String, _ group: BenchmarkGroup, _ tolerances: Tolerances, queries: Int, keys: Int,
        _ compute: @escaping (_ q: Tensor, _ k: Tensor, _ v: Tensor) -> Tensor
    ) -> BenchmarkCase {
        BenchmarkCase(
            name: name, group: group, operation: "attention", options: ["heads": heads],
            operations: 4 * Double(queries) * Double(keys) * Double(heads * headDim), tolerances: tolerances
        ) {
            let inputs = tokens(name, queries: queries, keys: keys)
            guard let q = inputs["q"], let k = inputs["k"], let v = inputs["v"] else {
                preconditionFailure("attention: inputs with unexpected names")
            }
            return .forward(inputs: inputs) { compute(q, k, v) }
        }
    }

    /// The gradients of queries, keys and values: four products, compared with two in the forward pass. Recomputing the
    /// scores, as both sides do, is not counted.
    private static func attentionBackward(queries: Int, keys: Int) -> BenchmarkCase {
        let name = "attention backward \(queries)x\(keys), \(heads) heads of \(headDim)"
        return BenchmarkCase(
            name: name, group: .kernels, operation: "attention_backward", options: ["heads": heads],
            operations: 8 * Double(queries) * Double(keys) * Double(heads * headDim), tolerances: .gradient
        ) {
            var inputs = tokens(name, queries: queries, keys: keys)
            let parameters = ["q", "k", "v"].compactMap { key in inputs[key].map { Parameter(key, $0) } }
            let gradient = RandomInputs(name).normal("gradient", [1, queries, heads * headDim])
            inputs["gradient"] = gradient
            let slot = ResultSlot()
            let prepare = {
                for parameter in parameters { parameter.gradient = nil }
                slot.tensor = scaledDotProductAttention(
                    parameters[0].tensor(), parameters[1].tensor(), parameters[2].tensor(), heads: heads)
            }
            let pass = {
                slot.tensor?.backward(gradient)
                slot.tensor = nil
            }
            return Workload(inputs: inputs, prepare: prepare, pass: pass) {
                prepare()
                pass()
                let found = parameters.compactMap { parameter in
                    parameter.gradient.map { (parameter.name, $0) }
                }
                return Dictionary(uniqueKeysWithValues: found)
            }
        }
    }
}

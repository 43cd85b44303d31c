// SPDX-License-Identifier: Apache-2.0
// The parameters that a model registered while it was built, in construction order: checkpoints write them, optimizers
// train them, quantizers replace them. Weights are read through their layers, so that a replaced weight is found.

import Tensors

/// One key of a model's state_dict and its present value.
public struct ParameterEntry {
    /// Full diffusers key, e.g. "conv_in.weight".
    public let key: String
    /// Dense, half-precision, fake-quantized or packed value.
    public let source: any WeightSource
}

/// The registry of one model's parameters and of the layers that hold replaceable weights.
public final class ParameterStore {
    /// Where values come from while the model is being built.
    public let provider: any ParameterProvider

    private enum Slot {
        case parameter(key: String, Parameter)
        case holder(any WeightHolder)
    }

    private var slots: [Slot] = []
    private var keys: Set<String> = []
    private var layersByPath: [String: any WeightedLayer] = [:]

    /// The linear and convolution layers, in construction order.
    public private(set) var weightedLayers: [any WeightedLayer] = []

    /// An empty store that fills itself from `provider` while a model is built.
    public init(provider: any ParameterProvider) {
        self.provider = provider
    }

    /// Every key with its present source, in construction order.
    public var entries: [ParameterEntry] {
        slots.flatMap { slot -> [ParameterEntry] in
            switch slot {
            case .parameter(let key, let parameter):
                return [ParameterEntry(key: key, source: parameter)]
            case .holder(let layer):
                let weight = ParameterEntry(key: layer.path + ".weight", source: layer.weight)
                guard let bias = layer.bias else { return [weight] }
                return [weight, ParameterEntry(key: layer.path + ".bias", source: bias)]
            }
        }
    }

    /// Every leaf that training can move, scales of fake-quantized weights included, in construction order.
    public var parameters: [Parameter] {
        entries.flatMap(\.source.parameters)
    }

    /// Number of values in the model as diffusers counts them: the product of each entry's shape, summed.
    public var elementCount: Int {
        entries.reduce(0) { $0 + $1.source.shape.reduce(1, *) }
    }

    /// The linear or convolution layer at `path` ("mid_block.resnets.0.conv1"), or nil.
    public func layer(at path: String) -> (any WeightedLayer)? {
        layersByPath[path]
    }

    /// Makes every parameter trainable, or freezes all of them (a teacher).
    public func setTrainable(_ isTrainable: Bool) {
        for parameter in parameters { parameter.isTrainable = isTrainable }
    }

    /// Rounds the dense weights of all linear and convolution layers to a 16-bit type, one layer after the other; they
    /// are frozen from then on and widened at each use. Weights of other kinds stay.
    ///
    /// - Precondition: `type` is a 16-bit type.
    public func holdWeights(as type: ElementType) {
        for layer in weightedLayers {
            guard let dense = layer.weight as? Parameter else { continue }
            let bits = dense.value.withUnsafeBufferPointer { Float16Bits.encode($0, type) }
            layer.weight = Weight16(name: dense.name, bits: bits, shape: dense.shape, type: type)
        }
    }

    /// Remembers a parameter that no replaceable weight belongs to.
    ///
    /// - Precondition: `key` was not registered before.
    func register(_ parameter: Parameter, key: String) {
        claim(key)
        slots.append(.parameter(key: key, parameter))
    }

    /// Remembers a layer with its weight (and bias) under `path.weight` (and `path.bias`).
    ///
    /// - Precondition: nothing was registered under its keys before.
    public func register(_ holder: any WeightHolder) {
        claim(holder.path + ".weight")
        if holder.bias != nil { claim(holder.path + ".bias") }
        slots.append(.holder(holder))
        if let layer = holder as? any WeightedLayer {
            weightedLayers.append(layer)
            layersByPath[layer.path] = layer
        }
    }

    private func claim(_ key: String) {
        precondition(keys.insert(key).inserted, "parameter store: key \(key) is registered twice")
    }
}

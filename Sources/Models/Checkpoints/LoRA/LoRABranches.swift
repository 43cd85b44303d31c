// SPDX-License-Identifier: Apache-2.0
// LoRAs computed beside the weights of a model, so that packed weights stay packed.

import Files
import Layers

/// LoRAs as low-rank branches of the layers of a pipeline.
public struct LoRABranches: Sendable {
    private let additions: [(target: LoRALayerNames.Target, additions: [LoRA.Addition])]

    /// No LoRAs.
    public init() { additions = [] }

    /// Finds the layers of all LoRAs.
    ///
    /// - Parameters:
    ///   - loras: the files; branches of one layer are added up.
    ///   - components: the denoiser and the text encoders by name, with or without values.
    /// - Throws: `LoRAError` for layers that the model does not have, and matrices that do not fit its weights.
    public init(_ loras: [LoRA], components: [String: ParameterStore]) throws {
        let shapes = components.mapValues { store in
            let layers = store.weightedLayers.filter { $0 is any AdaptableLayer }
            return Dictionary(uniqueKeysWithValues: layers.map { ($0.path + ".weight", $0.weight.shape) })
        }
        var found: [LoRALayerNames.Target: [LoRA.Addition]] = [:]
        for lora in loras {
            for (target, addition) in try lora.additions(to: shapes) { found[target, default: []].append(addition) }
        }
        additions = found.map { ($0.key, $0.value) }.sorted { byBytes($0.target.key, $1.target.key) }
    }

    /// Sets the branches of all layers of a component, and removes those of other layers.
    ///
    /// - Parameters:
    ///   - store: the component, with values.
    ///   - component: its name.
    /// - Throws: `LoRAError.cachedLayer` for a layer that a packed file has cached features in place of; what reading
    ///   the files throws.
    public func attach(to store: ParameterStore, of component: String) throws {
        for layer in store.weightedLayers { (layer as? any AdaptableLayer)?.branch = nil }
        for (target, additions) in additions where target.component == component {
            let path = String(target.key.dropLast(".weight".count))
            guard let layer = store.layer(at: path) as? any AdaptableLayer else {
                throw LoRAError.cachedLayer(file: additions[0].file, layer: path)
            }
            let branches = try additions.map { try $0.branch(weightShape: layer.weight.shape) }
            layer.branch = branches.dropFirst().reduce(branches[0], +)
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685), merged into the weights that it was trained for, or computed
// beside them (`LoRABranches`):
//
//     W + weight · alpha / rank · up · down          rank: rows of down; alpha = rank where the file gives none
//
// A convolution's matrices are [O, rank, 1, 1] and [rank, I, KH, KW]. With a middle one (LoCon, Tucker decomposition),
// they are [O, rank, 1, 1], [rank, rank, KH, KW] and [rank, I, 1, 1].

import Files
import Foundation
import Layers
import Tensors

/// A LoRA file, open for reading.
public struct LoRA: Sendable {
    /// The file.
    public let path: String
    /// The factor on everything that the file changes.
    public let weight: Float
    /// Every file that was read, for manifests.
    public let files: [String]
    private let source: SafetensorsReader
    private let layers: [Layer]
    private let scaling: LoRAScaling

    fileprivate struct Layer: Sendable {
        let name: String
        let down: String
        let up: String
        let middle: String?
        let alpha: String?
        var keys: [String] { [down, up, middle, alpha].compactMap { $0 } }
    }

    /// Opens a LoRA: a safetensors file of kohya's scripts, PEFT or diffusers, or the folder that one of them saved.
    ///
    /// - Parameters:
    ///   - path: the file, or a folder with `pytorch_lora_weights.safetensors` or `adapter_model.safetensors`.
    ///   - weight: the factor; 1 is what the LoRA was trained for.
    /// - Throws: `FileError`, `SafetensorsError`; `LoRAError` for other adapters and incomplete layers.
    public init(_ path: String, weight: Float = 1) throws {
        var path = path
        if try FileInspection(path).kind == .folder {
            let names = ["pytorch_lora_weights.safetensors", "adapter_model.safetensors"].map { path + "/" + $0 }
            guard let name = try names.first(where: { try FilePresence($0).exists() }) else {
                throw WeightFilesError.none(
                    folder: path, expected: "pytorch_lora_weights.safetensors or adapter_model.safetensors", files: [])
            }
            path = name
        }
        guard weight.isFinite else { throw LoRAError.weight(file: path) }
        let source = try SafetensorsReader(path)
        guard LoRAKeys.isLoRA(source.keys) else { throw LoRAError.notLoRA(file: path, keys: source.keys) }
        self.path = path
        self.weight = weight
        self.source = source
        layers = try Self.layers(of: source)
        scaling = try LoRAScaling(source)
        files = [path] + scaling.files
    }

    private static func layers(of source: SafetensorsReader) throws -> [Layer] {
        var parts: [String: [LoRAKey.Role: String]] = [:]
        var unknown: [String] = []
        for key in source.keys {
            if let format = LoRAKeys.unsupported(key) {
                throw LoRAError.unsupported(file: source.path, format: format, key: key)
            }
            guard let name = LoRAKey(key) else {
                unknown.append(key)
                continue
            }
            guard parts[name.layer, default: [:]].updateValue(key, forKey: name.role) == nil else {
                throw LoRAError.duplicate(file: source.path, layer: name.layer, key: key)
            }
        }
        if !unknown.isEmpty { throw LoRAError.unmatched(file: source.path, keys: unknown) }
        return try parts.sorted { byBytes($0.key, $1.key) }.map { name, roles in
            guard let down = roles[.down] else {
                throw LoRAError.incomplete(file: source.path, layer: name, missing: "down matrix (lora_down, lora_A)")
            }
            guard let up = roles[.up] else {
                throw LoRAError.incomplete(file: source.path, layer: name, missing: "up matrix (lora_up, lora_B)")
            }
            return Layer(name: name, down: down, up: up, middle: roles[.middle], alpha: roles[.alpha])
        }
    }

    // MARK: Layers

    /// What one layer adds to its weight.
    struct Addition: Sendable {
        fileprivate let lora: LoRA
        fileprivate let layer: Layer
        fileprivate let scale: Float

        /// The file, for messages.
        var file: String { lora.path }

        /// The matrices whose product is `scale` times smaller than the change: up `[O, R]`, down `[R, I · KH · KW]`.
        private func matrices() throws -> (up: Tensor, down: Tensor) {
            let source = lora.source
            let up = try source.tensor(layer.up), down = try source.tensor(layer.down)
            let rank = down.shape[0], outputs = up.shape[0]
            let upMatrix = up.reshaped([outputs, up.count / outputs])
            let downMatrix = down.reshaped([rank, down.count / rank])
            guard let middle = layer.middle else { return (upMatrix, downMatrix) }
            return (upMatrix, Self.expanded(downMatrix, try source.tensor(middle)))
        }

        /// The change as a branch of the layer with a weight of `shape`.
        ///
        /// - Throws: what reading the file throws.
        func branch(weightShape shape: [Int]) throws -> LowRankBranch {
            let (up, down) = try matrices()
            return LowRankBranch(down: down.reshaped([down.shape[0]] + shape[1...]), up: up * scale)
        }

        /// Adds to the elements of `weight`.
        ///
        /// - Throws: what reading the file throws.
        func add(to weight: Tensor) throws {
            let (up, down) = try matrices()
            let product = matmul(up, down)
            weight.withUnsafeMutableBufferPointer { values in
                product.withUnsafeBufferPointer { product in
                    for index in 0..<values.count { values[index] += scale * product[index] }
                }
            }
        }

        /// `[R, I]` and `[Q, R, KH, KW]` as `[Q, I · KH · KW]`.
        private static func expanded(_ down: Tensor, _ middle: Tensor) -> Tensor {
            let (rows, rank) = (middle.shape[0], middle.shape[1])
            let (inputs, positions) = (down.shape[1], middle.shape.dropFirst(2).reduce(1, *))
            // [Q, positions, R] · [R, I] -> [Q, positions, I] -> [Q, I, positions]
            let left = middle.reshaped([rows, rank, positions]).permuted([0, 2, 1]).reshaped([rows * positions, rank])
            return matmul(left, down).reshaped([rows, positions, inputs]).permuted([0, 2, 1])
                .reshaped([rows, inputs * positions])
        }
    }

    /// The additions to weights, whose shapes are given by component and key.
    ///
    /// - Throws: `LoRAError.unmatched`, `.duplicate`, `.shape`, `.alpha`.
    func additions(to weights: [String: [String: [Int]]]) throws -> [LoRALayerNames.Target: Addition] {
        let names = LoRALayerNames(weights.mapValues { Array($0.keys) })
        var additions: [LoRALayerNames.Target: Addition] = [:]
        var unmatched: [String] = []
        for layer in layers {
            guard let target = names.target(of: layer.name),
                let shape = weights[target.component]?[target.key]
            else {
                unmatched += layer.keys
                continue
            }
            let rank = try checkedRank(layer, shape)
            let alpha = try layer.alpha.map { key throws in try number(key, layer) }
            let scale = scaling.scale(target, rank: rank, alpha: alpha)
            let addition = Addition(lora: self, layer: layer, scale: self.weight * scale)
            guard additions.updateValue(addition, forKey: target) == nil else {
                throw LoRAError.duplicate(file: path, layer: layer.name, key: target.key)
            }
        }
        if !unmatched.isEmpty { throw LoRAError.unmatched(file: path, keys: unmatched.sorted(by: byBytes)) }
        return additions
    }

    /// The rank of a layer whose matrices give a weight of `shape`.
    private func checkedRank(_ layer: Layer, _ shape: [Int]) throws -> Int {
        let up = try source.require(layer.up).shape, down = try source.require(layer.down).shape
        let fault = LoRAError.shape(file: path, layer: layer.name, weight: shape, up: up, down: down)
        let outputs = shape[0], inputs = shape.dropFirst().reduce(1, *)
        guard up.count >= 2, down.count >= 2, up[0] == outputs, down[0] > 0, inputs > 0, outputs > 0,
            up.dropFirst(2).allSatisfy({ $0 == 1 })
        else { throw fault }
        let columns = down.dropFirst().reduce(1, *)
        guard let middle = layer.middle else {
            guard up[1] == down[0], columns == inputs else { throw fault }
            return down[0]
        }
        let core = try source.require(middle).shape
        guard core.count >= 2, core[0] == up[1], core[1] == down[0],
            elementCount([columns] + core.dropFirst(2)) == inputs
        else { throw fault }
        return down[0]
    }

    private func number(_ key: String, _ layer: Layer) throws -> Float {
        let stored = try source.require(key)
        guard stored.count == 1 else { throw LoRAError.alpha(file: path, layer: layer.name) }
        let isFloat = stored.type?.elementType != nil
        let value = isFloat ? try source.tensor(key).values[0] : Float(try source.integers(key)[0])
        guard value.isFinite else { throw LoRAError.alpha(file: path, layer: layer.name) }
        return value
    }
}

extension PipelineSource {
    /// The same pipeline with LoRAs merged into its weights, which are computed in Float32 when they are read and then
    /// rounded to their own type.
    ///
    /// - Throws: `LoRAError` for layers that the model does not have, and matrices that do not fit its weights.
    public func merging(_ loras: [LoRA]) throws -> PipelineSource {
        let shapes = components.map { component in
            let weights = component.tensors.keys.compactMap { key -> (String, [Int])? in
                guard key.hasSuffix(".weight"), let shape = component.tensors.stored(key)?.shape, shape.count > 1
                else { return nil }
                return (key, shape)
            }
            return (component.name, Dictionary(uniqueKeysWithValues: weights))
        }
        var additions: [String: [String: [LoRA.Addition]]] = [:]
        for lora in loras {
            for (target, addition) in try lora.additions(to: Dictionary(uniqueKeysWithValues: shapes)) {
                additions[target.component, default: [:]][target.key, default: []].append(addition)
            }
        }
        var merged = self
        merged.components = components.map { component in
            guard let added = additions[component.name] else { return component }
            return SourceComponent(
                name: component.name, className: component.className, config: component.config,
                tensors: MergedTensors(component.tensors, added))
        }
        merged.files += loras.flatMap(\.files)
        return merged
    }
}

/// Tensors with LoRAs merged in.
final class MergedTensors: TensorSource {
    private let base: any TensorSource
    private let additions: [String: [LoRA.Addition]]

    init(_ base: any TensorSource, _ additions: [String: [LoRA.Addition]]) {
        self.base = base
        self.additions = additions
    }

    var path: String { base.path }
    var keys: [String] { base.keys }

    func stored(_ key: String) -> StoredTensor? { base.stored(key) }

    func read(_ key: String, into buffer: UnsafeMutableRawBufferPointer) throws {
        guard let added = additions[key] else { return try base.read(key, into: buffer) }
        let weight = try base.tensor(key)
        for addition in added { try addition.add(to: weight) }
        let type = try base.require(key, StorageType.floats).0.elementType ?? .float32
        try encode(weight, as: type, key: key, file: path).withUnsafeBytes { buffer.copyMemory(from: $0) }
    }
}

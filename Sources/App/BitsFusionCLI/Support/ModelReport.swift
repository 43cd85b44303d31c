// SPDX-License-Identifier: Apache-2.0
// The report of `info`: architecture, layers, and the size of each part in average bits and in bytes.

import BitsFusion

/// The output of `info`; `--json` prints it as JSON.
struct ModelReport: Encodable {
    struct Architecture: Encodable {
        let className: String
        let sampleSize: [Int]?
        let inChannels: Int
        let outChannels: Int
        let blockOutChannels: [Int]
        let contextSize: Int?
    }

    struct Layer: Encodable {
        let path: String
        let kind: String
        let role: String
        let shape: [Int]
        let weights: Int
        /// Nominal bits; nil if the layer is not quantized.
        let bits: Int?
        /// The dead zone of a layer whose weights are not rounded to the nearest code; nil for others.
        let deadZone: Float?
        /// The bits of a weight in the average: log2(2^bits + 1); nil if the layer is not quantized.
        let averageBits: Double?
        /// The storage in a packed file: the encoding of the codes, `float32`, or `cached` for time features; nil if
        /// the model is not quantized.
        let storage: String?
        /// The stored bytes of the weight and its scales, or their forecast.
        let bytes: Int?
        /// The same in bits per weight.
        let storedBitsPerWeight: Double?
    }

    /// One part of a quantized model.
    struct Part: Encodable {
        let name: String
        let count: Int
        /// Bits per weight of the whole model; nil for parts that the paper's average does not count.
        let averageBits: Double?
        /// With codes in the given encoding.
        let bytes: Int
        /// Of all bytes, 0...1.
        let share: Double
    }

    /// A component other than the denoiser.
    struct OtherComponent: Encodable {
        let name: String
        let parameters: Int
    }

    struct Quantized: Encodable {
        let averageBits: Double
        /// The forecast of a recipe: the average with the entropy of the codes in place of log2(levels).
        let entropyBits: Double?
        let storedBitsPerWeight: Double
        let cachedSteps: Int
        let encoding: String
        let parts: [Part]
        /// All parts together: the bytes of the packed file.
        let storedBytes: Int
        /// Without text encoders and VAE. Compared with `float16Bytes`.
        let unetBytes: Int
        let float16Bytes: Int
        /// With text encoders and VAE. Compared with `storedBytes`.
        let allFloat16Bytes: Int
    }

    let name: String
    let format: String
    let architecture: Architecture
    let parameters: Int
    let weights: Int
    /// Text encoders and VAE: parameters by name.
    let otherComponents: [OtherComponent]
    let fileBytes: Int?
    /// The layers of all components, those of the denoiser first.
    let layers: [Layer]
    let quantized: Quantized?
    /// The number of layers of the denoiser, and its name among the components.
    private let denoiserLayers: Int
    private let denoiserName: String

    /// The keys of the JSON document.
    private enum CodingKeys: String, CodingKey {
        case name, format, architecture, parameters, weights, otherComponents, fileBytes, layers, quantized
        case denoiserLayers
    }

    /// - Throws: `RecipeError` if the recipe does not match the model.
    init(
        _ model: ModelDescription, recipe: BitRecipe?, storage: TimeFeatureStorage, encoding: PackingEncoding
    ) throws {
        let inventory = model.inventory
        name = model.name
        format = model.format
        architecture = Architecture(model.config)
        parameters = inventory.weightCount + inventory.otherParameters
        weights = inventory.weightCount
        otherComponents = model.otherComponents.map { OtherComponent(name: $0.name, parameters: $0.parameters) }
        denoiserLayers = inventory.layers.count
        denoiserName = type(of: model.config).component
        fileBytes = model.fileBytes
        let found = recipe == model.recipe ? model.stored : [:]
        var stored: [LayerID: StoredLayer] = [:]
        let ofComponents = Set(inventory.componentLayers.map(\.layer.path))
        for layer in inventory.quantizedLayers + inventory.componentLayers.map(\.layer) {
            guard let bits = recipe?.layers[layer.path] else { continue }
            stored[layer.path] =
                found[layer.path]
                ?? StoredLayer(
                    encoding: encoding,
                    codeBytes: packedByteCount(
                        count: layer.weights,
                        levels: ofComponents.contains(layer.path) ? bits.levelsInByte : bits.levels,
                        encoding: encoding),
                    scaleBytes: layer.outputChannels * 4)
        }
        let denseBytes = Dictionary(
            uniqueKeysWithValues: inventory.componentLayers.map { ($0.layer.path, $0.denseBytes) })
        layers = (inventory.layers + inventory.componentLayers.map(\.layer)).map { layer in
            let (bits, storedLayer) = (recipe?.layers[layer.path], stored[layer.path])
            let isCached = layer.role.isTimeLayer && storage.cachedSteps > 0
            let kept =
                recipe == nil || storedLayer != nil ? nil : isCached ? 0 : denseBytes[layer.path] ?? layer.weights * 4
            let bytes = storedLayer?.bytes ?? kept
            return Layer(
                path: layer.path.rawValue, kind: layer.kind.rawValue, role: layer.role.rawValue,
                shape: layer.shape, weights: layer.weights, bits: bits?.rawValue,
                deadZone: recipe?.deadZones[layer.path], averageBits: bits?.effectiveBits,
                storage: storedLayer?.encoding.rawValue
                    ?? kept.map { isCached ? "cached" : $0 < layer.weights * 4 ? "float16" : "float32" },
                bytes: bytes,
                storedBitsPerWeight: bytes.map { 8 * Double($0) / Double(max(layer.weights, 1)) })
        }
        quantized = try recipe.map {
            try Quantized(
                $0, inventory: inventory, storage: storage, stored: stored,
                components: model.otherComponents,
                fileBytes: found.isEmpty ? nil : model.fileBytes
            )
        }
    }
}

extension ModelReport.Architecture {
    init(_ config: any DenoiserConfig) {
        className = config.architecture
        sampleSize = config.sampleSize.map { [$0.height, $0.width] }
        inChannels = config.inChannels
        outChannels = config.outChannels
        blockOutChannels = config.blockOutChannels
        contextSize = config.usesCrossAttention ? config.contextSize : nil
    }
}

extension ModelReport.Quantized {
    init(
        _ recipe: BitRecipe, inventory: ModelInventory, storage: TimeFeatureStorage,
        stored: [LayerID: StoredLayer], components: [ComponentSize], fileBytes: Int?
    ) throws {
        let size = try SizeAccounting(recipe: recipe, inventory: inventory, timeFeatures: storage)
        let quantized = inventory.quantizedLayers.compactMap { stored[$0.path] }
        let codes = quantized.reduce(0) { $0 + $1.codeBytes }
        let scales = quantized.reduce(0) { $0 + $1.scaleBytes }
        let time = Int(size.timeFeatures.bytes)
        let others = Int(size.otherParameters.bytes)
        let componentBytes = components.map { component in
            inventory.componentLayers.reduce(component.denseBytes) { bytes, layer in
                guard layer.layer.path.rawValue.hasPrefix(component.name + ".") else { return bytes }
                return bytes + (stored[layer.layer.path].map { $0.bytes - layer.denseBytes } ?? 0)
            }
        }
        let othersBytes = componentBytes.reduce(0, +)
        // Known for a packed file, an upper bound for one to be written.
        let container =
            fileBytes.map { $0 - codes - scales - time - others - othersBytes }
            ?? inventory.container?.structure(storage) ?? 0
        let unet = codes + scales + time + others + container
        let total = unet + othersBytes
        func part(_ name: String, _ part: SizeAccounting.Part, _ bytes: Int, counts: Bool) -> ModelReport.Part {
            ModelReport.Part(
                name: name, count: part.count, averageBits: counts ? size.averageBits(of: part) : nil,
                bytes: bytes, share: Double(bytes) / Double(max(total, 1)))
        }
        averageBits = size.averageBits
        entropyBits = recipe.entropyBits
        storedBitsPerWeight = 8 * Double(unet) / Double(inventory.weightCount)
        cachedSteps = storage.cachedSteps
        encoding = Set(stored.values.map(\.encoding.rawValue)).sorted().joined(separator: ", ")
        parts =
            [
                part("quantized weights", size.quantizedWeights, codes, counts: true),
                part(
                    storage.cachedSteps > 0 ? "time features" : "time layers", size.timeFeatures, time,
                    counts: true),
                part("scales", size.scales, scales, counts: false),
                part("others", size.otherParameters, others, counts: false),
                part(ModelReport.container, SizeAccounting.Part(count: 0, bits: 0), container, counts: false),
            ]
            + zip(components, componentBytes).map { component, bytes in
                part(component.name, SizeAccounting.Part(count: component.parameters, bits: 0), bytes, counts: false)
            }
        storedBytes = total
        unetBytes = unet
        float16Bytes = 2 * (inventory.weightCount + inventory.otherParameters)
        allFloat16Bytes = float16Bytes + 2 * components.reduce(0) { $0 + $1.parameters }
    }
}

extension ModelReport {
    /// The report as text.
    func print() {
        printLayers()
        Output.line("")
        let size = architecture.sampleSize.map { "\($0[0])x\($0[1])" } ?? "any size"
        Output.line("\(name) (\(format))")
        Output.line(
            "  architecture   \(architecture.className), \(architecture.inChannels) -> \(architecture.outChannels) "
                + "channels, \(size)" + (architecture.contextSize.map { ", context size \($0)" } ?? ""))
        Output.line("                 channels \(Self.list(architecture.blockOutChannels))")
        Output.line(
            "  parameters     \(Numbers.grouped(parameters)), \(Numbers.grouped(weights)) of them weights of "
                + "\(denoiserLayers) linear and convolution layers")
        for component in otherComponents {
            let name = component.name.padding(toLength: 14, withPad: " ", startingAt: 0)
            Output.line("  \(name) \(Numbers.grouped(component.parameters)) more parameters")
        }
        if let fileBytes {
            Output.line("  file           \(Numbers.grouped(fileBytes)) bytes (\(Numbers.bytes(fileBytes)))")
        }
        guard let quantized else { return }
        Output.line(
            "  average bits   \(Numbers.fixed(quantized.averageBits, 4)) "
                + (quantized.cachedSteps > 0
                    ? "(\(quantized.cachedSteps) cached steps)" : "(time layers kept)")
                + (quantized.entropyBits.map {
                    ", \(Numbers.fixed($0, 4)) with the entropy of the codes before training"
                } ?? ""))
        func line(_ label: String, _ bytes: Int, _ details: String, float16: Int, _ reference: String) {
            Output.line(
                "  \(label.padding(toLength: 14, withPad: " ", startingAt: 0)) \(Numbers.grouped(bytes)) bytes "
                    + "(\(Numbers.bytes(bytes)))\(details); "
                    + "\(Numbers.fixed(Double(float16) / Double(max(bytes, 1)), 1))x smaller than \(reference)")
        }
        line(
            otherComponents.isEmpty ? "stored" : denoiserName, quantized.unetBytes,
            ", \(Numbers.fixed(quantized.storedBitsPerWeight, 4)) bits per weight, \(quantized.encoding) encoding",
            float16: quantized.float16Bytes, "float16")
        if !otherComponents.isEmpty {
            line(
                "all stored", quantized.storedBytes, "", float16: quantized.allFloat16Bytes,
                "float16 of all components")
        }
        let others = quantized.parts.first { $0.name == "others" }?.count ?? 0
        Output.line(
            "  high precision \(Numbers.grouped(others)) values of norms, biases and embeddings in float32, "
                + (quantized.cachedSteps > 0 ? "time features in float16" : "time layers in float32"))
        Output.line("")
        var table = TextTable(["part", "values", "average bits", "bytes", "share"])
        for part in quantized.parts {
            table.add([
                part.name, Numbers.grouped(part.count), part.averageBits.map { Numbers.fixed($0, 4) } ?? "-",
                Numbers.grouped(part.bytes), Numbers.fixed(100 * part.share, 1) + " %",
            ])
            // The last part of the denoiser; the others are components.
            if part.name == Self.container, !otherComponents.isEmpty {
                table.add([
                    "= \(denoiserName)", Numbers.grouped(parameters), Numbers.fixed(quantized.averageBits, 4),
                    Numbers.grouped(quantized.unetBytes),
                    Numbers.fixed(100 * Double(quantized.unetBytes) / Double(max(quantized.storedBytes, 1)), 1) + " %",
                ])
            }
        }
        table.print()
    }

    fileprivate static let container = "container"

    private func printLayers() {
        var table = TextTable(
            [
                "layer", "kind", "shape", "weights",
                layers.contains { $0.deadZone != nil } ? "bits (dead zone)" : "bits",
                "average", "stored bits", "bytes", "storage",
            ],
            alignments: [.left, .left, .left])
        for layer in layers {
            table.add([
                layer.path, layer.kind, Self.list(layer.shape, "x"), Numbers.grouped(layer.weights),
                (layer.bits.map(String.init) ?? "-") + (layer.deadZone.map { " (\($0))" } ?? ""),
                layer.averageBits.map { Numbers.fixed($0, 3) } ?? "-",
                layer.storedBitsPerWeight.map { Numbers.fixed($0, 3) } ?? "-",
                layer.bytes.map(Numbers.grouped) ?? "-", layer.storage ?? "-",
            ])
        }
        table.print()
    }

    private static func list(_ values: [Int], _ separator: String = ", ") -> String {
        Set(values).count == 1 && separator != "x"
            ? "\(values[0])" : values.map(String.init).joined(separator: separator)
    }
}

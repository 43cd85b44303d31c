// SPDX-License-Identifier: Apache-2.0
// Stored sets in HDF5 files, as in `Docs/Formats.md`, and what to check of them before a long run.
// N samples, C channels of the model's input, T tokens, D embedding dimensions, P pooled text features, I time ids.

import Checkpoints
import Files
import Networks
import Pipelines
import Tensors

extension StoredDistillationData {
    /// Opens a set and checks all of its values. Other datasets of the file, such as the captions' `text`, are ignored.
    /// Latents and text embeddings stay in the file.
    ///
    /// - Parameters:
    ///   - path: an HDF5 file with `latents` `[N, C, H, W]`, `encoder_hidden_states` `[N, T, D]` and
    ///     `empty_hidden_states` `[1, T, D]`; for models with added conditions, such as SDXL, also with `text_embeds`
    ///     `[N, P]`, `empty_text_embeds` `[1, P]` and `time_ids` `[N, I]`.
    ///   - config: the config of the trained model, which decides C, D, P and I.
    /// - Throws: `FileError`, `HDF5Error` for a file that cannot be read, `DataSetError` for one that does not fit.
    public init(contentsOf path: String, for config: any DenoiserConfig) throws {
        let isAdded = config.addedConditionsType != nil
        let set = try DataSetFile(path, names: DataSetFile.names + (isAdded ? DataSetFile.addedNames : []))
        let latents = try set.rows("latents", contents: "samples [N, \(config.inChannels), H, W]")
        guard latents.shape.count == 4, latents.shape[1] == config.inChannels, latents.shape.allSatisfy({ $0 > 0 })
        else {
            throw set.wrongShape("latents", "[N, \(config.inChannels), H, W]", latents.shape)
        }
        let (count, width) = (latents.shape[0], config.contextSize)
        let states = try set.rows(
            "encoder_hidden_states", contents: "the text embeddings of the samples, [N, T, \(width)]")
        guard states.shape.count == 3, states.shape[1] > 0, states.shape[2] == width else {
            throw set.wrongShape("encoder_hidden_states", "[\(count), T, \(width)]", states.shape)
        }
        try set.checkRows("encoder_hidden_states", states.shape, count)
        let tokens = states.shape[1]
        let empty = try set.tensor(
            "empty_hidden_states", contents: "the text embedding of the empty prompt \"\", [1, \(tokens), \(width)]")
        guard empty.shape == [1, tokens, width] else {
            throw set.wrongShape("empty_hidden_states", "[1, \(tokens), \(width)]", empty.shape)
        }
        let added = try isAdded ? StoredAddedConditions(set, samples: count) : nil
        do throws(DenoiserInputError) {
            try config.validate(
                sample: latents.shape, timestep: [1], encoderHiddenStates: states.shape,
                textEmbeds: added?.textEmbeds.shape, timeIDs: added?.timeIDs.shape)
        } catch {
            throw DataSetError(error, file: path)
        }
        try set.checkValues(["latents", "encoder_hidden_states"] + (isAdded ? ["text_embeds"] : []))
        self.init(
            latents: latents, encoderHiddenStates: states, emptyHiddenStates: empty, addedConditions: added)
    }

    /// Properties that are rarely intended: samples that were not scaled, or of another size than the model's.
    ///
    /// - Parameter config: the config of the trained model.
    /// - Returns: at most one warning of each kind.
    /// - Throws: `HDF5Error`.
    public func warnings(for config: any DenoiserConfig) throws -> [DataSetWarning] {
        var warnings: [DataSetWarning] = []
        let deviation = try standardDeviation(channels: latents.shape[1] - config.conditionChannels)
        if !Self.usualDeviations.contains(deviation) { warnings.append(.standardDeviation(deviation)) }
        if let expected = config.sampleSize, expected != sampleSize {
            warnings.append(.size(found: sampleSize, expected: expected))
        }
        return warnings
    }

    /// Latents that were scaled have a standard deviation of about 1; unscaled ones of Stable Diffusion about 5, and
    /// images in [-1, 1] about 0.5.
    private static let usualDeviations = 0.2...3.0

    /// The standard deviation of the first `channels` channels, over at most 512 samples from all parts of the set.
    private func standardDeviation(channels: Int) throws -> Double {
        var (count, sum, squares) = (0.0, 0.0, 0.0)
        for index in stride(from: 0, to: latents.shape[0], by: max(latents.shape[0] / 512, 1)) {
            let row = try latents.row(index)
            row.withUnsafeBufferPointer { values in
                let length = values.count / row.shape[1] * channels
                for value in values[..<length] {
                    sum += Double(value)
                    squares += Double(value) * Double(value)
                }
                count += Double(length)
            }
        }
        return max(squares / count - (sum / count) * (sum / count), 0).squareRoot()
    }
}

extension StoredAddedConditions {
    /// Reads SDXL's conditions of `count` samples; P and I are checked against the model by the caller.
    fileprivate init(_ set: DataSetFile, samples count: Int) throws {
        let text = try set.rows("text_embeds", contents: "the pooled text embeddings of the samples, [N, P]")
        try set.checkRows("text_embeds", text.shape, count)
        guard text.shape.count == 2 else { throw set.wrongShape("text_embeds", "[\(count), P]", text.shape) }
        let empty = try set.tensor(
            "empty_text_embeds", contents: "the pooled text embedding of the empty prompt \"\", [1, P]")
        guard empty.shape == [1, text.shape[1]] else {
            throw set.wrongShape("empty_text_embeds", "[1, \(text.shape[1])]", empty.shape)
        }
        let sizes = try set.tensor(
            "time_ids",
            contents: "one row [height, width, crop top, crop left, target height, target width] in pixels for each "
                + "sample")
        try set.checkRows("time_ids", sizes.shape, count)
        self.init(textEmbeds: text, emptyTextEmbeds: empty, timeIDs: sizes)
    }
}

extension DataSetError {
    /// An input of the model that does not fit, as the data set that it is taken from.
    fileprivate init(_ error: DenoiserInputError, file: String) {
        switch error {
        case .shape(let name, let expected, let found):
            self = .shape(file: file, name: name == "sample" ? "latents" : name, expected: expected, found: found)
        case .missing(let name, let neededBy):
            self = .missing(file: file, name: name, contents: "it: it is needed by \(neededBy)")
        case .unexpected(let name):
            self = .missing(file: file, name: name, contents: "a model that has use for it")
        case .notFinite(let name, let index, let count):
            self = .notFinite(file: file, name: name, sample: index, count: count)
        case .tooSmall(let found, let halvings):
            self = .tooSmall(file: file, found: found, halvings: halvings)
        }
    }
}

/// The data sets of one file. The errors of checkpoints speak of weights; here they are those of data.
private struct DataSetFile {
    static let names = ["latents", "encoder_hidden_states", "empty_hidden_states"]
    static let addedNames = ["text_embeds", "empty_text_embeds", "time_ids"]

    private let path: String
    private let tensors: HDF5Tensors

    init(_ path: String, names: [String]) throws {
        self.path = path
        do {
            tensors = try HDF5Tensors(path, group: "/", naming: .paths, only: Set(names))
        } catch FileError.wrongKind(_, _, let found) {
            throw DataSetError.wrongKind(file: path, found: found)
        } catch HDF5Error.object(_, let object, .unsupportedType(let found)) {
            throw DataSetError.elementType(file: path, name: String(object.drop { $0 == "/" }), found: found)
        }
    }

    func tensor(_ name: String, contents: String) throws -> Tensor {
        let stored = try stored(name, contents: contents)
        return try naming(name, rowSize: stored.shape.dropFirst().reduce(1, *)) {
            try name == "time_ids" ? tensors.numbers(name) : tensors.tensor(name)
        }
    }

    /// A data set of floats that stays in the file.
    func rows(_ name: String, contents: String) throws -> StoredRows {
        let stored = try stored(name, contents: contents)
        guard stored.type?.elementType != nil else {
            throw DataSetError.elementType(file: path, name: name, found: stored.typeName)
        }
        return StoredRows(tensors, key: name, shape: stored.shape)
    }

    /// Reads all values of `names` once, a part at a time.
    ///
    /// - Throws: `DataSetError.notFinite` with all values that are not finite.
    func checkValues(_ names: [String]) throws {
        for name in names {
            guard let shape = tensors.stored(name)?.shape, let count = shape.first else { continue }
            let rowSize = shape.dropFirst().reduce(1, *), step = max(Self.partSize / max(rowSize, 1), 1)
            var fault: (sample: Int, count: Int)?
            for first in stride(from: 0, to: count, by: step) {
                do {
                    try naming(name, rowSize: rowSize) {
                        _ = try tensors.rows(first..<min(first + step, count)).tensor(name)
                    }
                } catch DataSetError.notFinite(_, _, let sample, let values) {
                    fault = (fault?.sample ?? first + sample, (fault?.count ?? 0) + values)
                }
            }
            if let fault {
                throw DataSetError.notFinite(file: path, name: name, sample: fault.sample, count: fault.count)
            }
        }
    }

    /// Values of a part: 16 MB in Float32.
    private static let partSize = 1 << 22

    private func stored(_ name: String, contents: String) throws -> StoredTensor {
        guard let stored = tensors.stored(name) else {
            throw DataSetError.missing(file: path, name: name, contents: contents)
        }
        return stored
    }

    /// Calls `read` and translates its errors to those of data.
    private func naming<Result>(_ name: String, rowSize: Int, _ read: () throws -> Result) throws -> Result {
        do {
            return try read()
        } catch CheckpointError.elementType(_, _, _, let found) {
            throw DataSetError.elementType(file: path, name: name, found: found)
        } catch CheckpointError.notFinite(_, _, let index, let count) {
            throw DataSetError.notFinite(file: path, name: name, sample: index / max(rowSize, 1), count: count)
        }
    }

    func checkRows(_ name: String, _ shape: [Int], _ samples: Int) throws(DataSetError) {
        guard !shape.isEmpty, shape[0] == samples else {
            throw .count(file: path, name: name, samples: samples, found: shape.first ?? 1)
        }
    }

    func wrongShape(_ name: String, _ expected: String, _ shape: [Int]) -> DataSetError {
        .shape(file: path, name: name, expected: expected, found: shape)
    }
}

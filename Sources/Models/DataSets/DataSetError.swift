// SPDX-License-Identifier: Apache-2.0
// Errors of stored data sets and warnings about them. Each names the file, the data set, the sample and what to do.

import Files
import Networks

/// A stored data set that cannot be trained on.
public enum DataSetError: Error, Equatable, Sendable {
    /// The file is not an HDF5 file.
    case wrongKind(file: String, found: FileKind)
    /// The file has no data set `name`, which holds `contents`.
    case missing(file: String, name: String, contents: String)
    /// A data set has another shape than the one spelled out in `expected`.
    case shape(file: String, name: String, expected: String, found: [Int])
    /// A data set has another number of rows than `latents` has samples.
    case count(file: String, name: String, samples: Int, found: Int)
    /// The elements of a data set are not floats of 16 or 32 bits.
    case elementType(file: String, name: String, found: String)
    /// `count` values are NaN or infinite, the first of them in the sample (row) at index `sample`.
    case notFinite(file: String, name: String, sample: Int, count: Int)
    /// The samples are too small for the model.
    case tooSmall(file: String, found: [Int], halvings: Int)
    /// The file is not a latent set.
    case notALatentSet(file: String)
    /// A latent set of another format version.
    case version(file: String, expected: Int, found: Int?)
    /// The set has no samples; `skipped` ones of its source were left out.
    case noSamples(skipped: Int)
    /// A value of a sample is out of range.
    case value(file: String, name: String, sample: Int, expected: String, found: String)
    /// The set was made for another kind of model.
    case otherModel(file: String, property: String, expected: String, found: String)
    /// A set cannot be made for this kind of model.
    case unsuitableModel(reason: String)
    /// Latents are NaN or infinite.
    case encodingNotFinite
    /// More than `limit` samples cannot be used, the last one is `last`.
    case tooManySkipped(limit: Int, last: String, reason: String)
}

extension DataSetError: CategorizedError {
    public var category: ErrorCategory { .badData }

    public var description: String {
        switch self {
        case .wrongKind(let file, let found):
            "\(file): data set: expected an HDF5 file with latents, encoder_hidden_states and empty_hidden_states, "
                + "found \(found.rawValue); write one with h5py (Docs/Formats.md)"
        case .missing(let file, let name, let contents):
            "\(file): data set \(name): missing; add \(contents) (Docs/Formats.md)"
        case .shape(let file, let name, let expected, let found):
            "\(file): data set \(name): expected shape \(expected), found \(found); store it for this model"
        case .count(let file, let name, let samples, let found):
            "\(file): data set \(name): expected \(samples) rows, one for each sample of latents, found \(found); "
                + "store one for each sample"
        case .elementType(let file, let name, let found):
            "\(file): data set \(name): expected float32, float16 or bfloat16, found \(found); store it with "
                + ".astype(\"float32\")"
        case .notFinite(let file, let name, let sample, let count):
            "\(file): data set \(name): \(count) values are NaN or infinite, the first in sample \(sample); encode "
                + "this sample again, or leave it out"
        case .tooSmall(let file, let found, let halvings):
            "\(file): data set latents: samples of \(found[2]) x \(found[3]) are too small for a model that halves "
                + "their size \(halvings) times; store larger ones"
        case .notALatentSet(let file):
            "\(file): expected a latent set, found another HDF5 file; make one with `bitsfusion dataset`"
        case .version(let file, let expected, let found):
            "\(file): format_version: expected \(expected), found \(found.map(String.init) ?? "none"); make the set "
                + "again with this version of the program"
        case .noSamples(let skipped):
            "data set: no samples" + (skipped > 0 ? ", \(skipped) were skipped" : "")
                + "; give images or prompts that can be used"
        case .value(let file, let name, let sample, let expected, let found):
            "\(file): data set \(name): row \(sample): expected \(expected), found \(found); make the set again"
        case .otherModel(let file, let property, let expected, let found):
            "\(file): made for another kind of model: \(property): expected \(expected), found \(found); make a set "
                + "with this model"
        case .unsuitableModel(let reason): "data set: \(reason)"
        case .encodingNotFinite:
            "latents: NaN or infinite; use another model or smaller guidance, or leave the image out"
        case .tooManySkipped(let limit, let last, let reason):
            "data set: more than \(limit) samples cannot be used, the last one \(last): \(reason); remove them, or "
                + "continue with --resume and a larger --skip-limit"
        }
    }
}

/// A property of a data set that is rarely intended.
public enum DataSetWarning: Equatable, Sendable {
    /// The samples' standard deviation is far from 1.
    case standardDeviation(Double)
    /// The samples have another size than those that the model was trained for.
    case size(found: SampleSize, expected: SampleSize)
}

extension DataSetWarning: CustomStringConvertible {
    public var description: String {
        switch self {
        case .standardDeviation(let value):
            "data set latents: standard deviation \(Self.rounded(value)), expected about 1; VAE latents must be "
                + "multiplied by the VAE's scaling_factor"
        case .size(let found, let expected):
            "data set latents: samples of \(found.height) x \(found.width), but the model's sample_size is "
                + "\(expected.height) x \(expected.width); results at other sizes may differ"
        }
    }

    /// Three significant digits are enough to recognize a missing scaling factor.
    private static func rounded(_ value: Double) -> Double { (value * 1000).rounded() / 1000 }
}

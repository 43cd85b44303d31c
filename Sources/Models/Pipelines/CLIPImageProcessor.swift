// SPDX-License-Identifier: Apache-2.0
// From images to the inputs of CLIP, as transformers' `CLIPImageProcessor` with Pillow computes them
// (models/clip/image_processing_pil_clip.py, image_transforms.py): resize, crop, rescale, normalize.
// B images, S image size of the vision model.

import Files
import Foundation
import Images
import Networks
import Tensors

/// transformers' `preprocessor_config.json` of a CLIP model, validated.
public struct CLIPImageProcessor: Sendable, Equatable {
    /// A size that images are resized to, with Pillow's bicubic filter.
    public enum Resizing: Sendable, Equatable {
        /// The shorter side gets this many pixels; the aspect ratio is kept.
        case shortestEdge(Int)
        /// The aspect ratio is not kept.
        case exact(SampleSize)
    }

    /// nil: images are not resized.
    public let resizing: Resizing?
    /// The part in the middle that is kept, in pixels; missing pixels are black. nil: all.
    public let cropSize: SampleSize?
    /// The factor of 8-bit values, 1/255; nil: none.
    public let rescaleFactor: Double?
    /// Mean and standard deviation of red, green and blue in the units of rescaled values; nil: not normalized.
    public let normalization: Normalization?

    /// (x - mean) / std for each channel.
    public struct Normalization: Sendable, Equatable {
        public let mean, std: [Float]
    }
}

extension CLIPImageProcessor {
    /// Reads transformers' `preprocessor_config.json`. Absent keys and null have transformers' defaults.
    ///
    /// - Parameters:
    ///   - json: UTF-8 JSON.
    ///   - imageSize: S, the size that the vision model takes.
    /// - Throws: `ConfigError` for keys and values that are not supported, and for images of another size than S.
    public init(json: Data, imageSize: Int) throws(ConfigError) {
        let name = "preprocessor_config.json"
        let document = try JSONValue(parsing: json, name: name)
        var reader = try ConfigReader(document, name: name, nullable: Set(document.members?.map(\.key) ?? []))
        let classes = ["CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor"]
        for key in ["image_processor_type", "feature_extractor_type"] {
            if let found = try reader.string(key), !classes.contains(found) {
                throw reader.unsupported(key, .string(found), classes.map { "\"\($0)\"" }.joined(separator: ", "))
            }
        }
        let resizes = try reader.bool("do_resize", default: true)
        let size = try Self.resizing(&reader)
        try reader.mustBeDefault("resample", .number("3"))
        let crops = try reader.bool("do_center_crop", default: true)
        let crop = try Self.cropSize(&reader)
        let rescales = try reader.bool("do_rescale", default: true)
        let factor = try reader.number("rescale_factor") ?? 1.0 / 255
        let normalizes = try reader.bool("do_normalize", default: true)
        let mean = try Self.channels("image_mean", &reader, default: [0.48145466, 0.4578275, 0.40821073]) { _ in true }
        let std = try Self.channels("image_std", &reader, default: [0.26862954, 0.26130258, 0.27577711]) { $0 > 0 }
        for key in ["do_pad", "default_to_square", "use_square_size"] { try reader.mustBeDefault(key, .bool(false)) }
        for key in Self.keysWithoutEffect { _ = reader.value(key) }
        try reader.finish()

        resizing = resizes ? size : nil
        cropSize = crops ? crop : nil
        rescaleFactor = rescales ? factor : nil
        normalization = normalizes ? Normalization(mean: mean, std: std) : nil
        let expected = SampleSize(square: imageSize)
        let wanted = "image_size of vision_config, \(imageSize)"
        if let cropSize {
            guard cropSize == expected else {
                throw reader.unsupported("crop_size", reader.value("crop_size") ?? .number("\(crop.height)"), wanted)
            }
        } else if resizing != .exact(expected) {
            throw reader.unsupported(
                "do_center_crop", .bool(false), "true; false with a size of height and width \(imageSize)")
        }
    }

    /// Input is always 8-bit RGB, and output one tensor. The size of padding has no effect without `do_pad`.
    private static let keysWithoutEffect = [
        "do_convert_rgb", "processor_class", "return_tensors", "data_format", "input_data_format", "device",
        "disable_grouping", "pad_size",
    ]

    private static let sizes = 1...8192

    private static func resizing(_ reader: inout ConfigReader) throws(ConfigError) -> Resizing {
        let key = "size"
        guard let value = reader.value(key) else { return .shortestEdge(224) }
        if let edge = value.integer, sizes.contains(edge) { return .shortestEdge(edge) }
        let members = Set(value.members?.map(\.key) ?? [])
        if members == ["shortest_edge"], let edge = value["shortest_edge"]?.integer, sizes.contains(edge) {
            return .shortestEdge(edge)
        }
        if let size = sampleSize(value) { return .exact(size) }
        throw reader.unsupported(
            key, value, "integers from 1 to 8192, {\"shortest_edge\": 224}, {\"height\": 224, \"width\": 224}")
    }

    private static func cropSize(_ reader: inout ConfigReader) throws(ConfigError) -> SampleSize {
        let key = "crop_size"
        guard let value = reader.value(key) else { return SampleSize(square: 224) }
        if let edge = value.integer, sizes.contains(edge) { return SampleSize(square: edge) }
        guard let size = sampleSize(value) else {
            throw reader.unsupported(key, value, "integers from 1 to 8192, {\"height\": 224, \"width\": 224}")
        }
        return size
    }

    /// {"height": H, "width": W}; nil for other values.
    private static func sampleSize(_ value: JSONValue) -> SampleSize? {
        guard Set(value.members?.map(\.key) ?? []) == ["height", "width"], let height = value["height"]?.integer,
            let width = value["width"]?.integer, sizes.contains(height), sizes.contains(width)
        else { return nil }
        return SampleSize(height: height, width: width)
    }

    /// One number for each channel, or one for all.
    private static func channels(
        _ key: String, _ reader: inout ConfigReader, default defaultValue: [Float], where isValid: (Double) -> Bool
    ) throws(ConfigError) -> [Float] {
        guard let value = reader.value(key) else { return defaultValue }
        let elements = value.elements ?? [value, value, value]
        let numbers = elements.compactMap(\.double).filter { $0.isFinite && isValid($0) }
        guard numbers.count == 3, elements.count == 3 else {
            throw reader.unsupported(key, value, "three numbers" + (key == "image_std" ? " above 0" : ""))
        }
        return numbers.map { Float($0) }
    }
}

extension CLIPImageProcessor {
    /// The pixel values of images. Images are rounded to 8 bits first.
    ///
    /// - Parameter images: B images of any sizes, at least one.
    /// - Returns: `[B, 3, S, S]`.
    public func callAsFunction(_ images: [RGBImage]) -> Tensor {
        precondition(!images.isEmpty, "CLIP image processor: no images")
        let parts = images.map(pixelValues)
        return parts.count == 1 ? parts[0] : .concatenated(parts, axis: 0)
    }

    private func pixelValues(_ image: RGBImage) -> Tensor {
        let resized = resized(image)
        let size = cropSize ?? SampleSize(height: resized.height, width: resized.width)
        // Rounded towards minus infinity, also where the image is smaller than the part.
        let top = (resized.height - size.height) >> 1, left = (resized.width - size.width) >> 1
        let bytes = resized.interleaved
        let tables = (0..<3).map(values)
        let result = Tensor.zeros([1, 3, size.height, size.width])
        result.withUnsafeMutableBufferPointer { output in
            for channel in 0..<3 {
                for row in 0..<size.height {
                    for column in 0..<size.width {
                        let (y, x) = (row + top, column + left)
                        let isInside = 0..<resized.height ~= y && 0..<resized.width ~= x
                        let byte = isInside ? bytes[(y * resized.width + x) * 3 + channel] : 0
                        output[(channel * size.height + row) * size.width + column] = tables[channel][Int(byte)]
                    }
                }
            }
        }
        return result
    }

    private func resized(_ image: RGBImage) -> RGBImage {
        switch resizing {
        case nil: return image
        case .exact(let size): return image.resized(width: size.width, height: size.height, filter: .bicubic)
        case .shortestEdge(let edge):
            let isUpright = image.width <= image.height
            let (short, long) = isUpright ? (image.width, image.height) : (image.height, image.width)
            let longEdge = Int(Double(edge * long) / Double(short))
            return image.resized(
                width: isUpright ? edge : longEdge, height: isUpright ? longEdge : edge, filter: .bicubic)
        }
    }

    /// The results for the 256 values of a byte. They are rescaled in double precision and normalized in single
    /// precision, as in transformers.
    private func values(_ channel: Int) -> [Float] {
        (0..<256).map { byte in
            let value = rescaleFactor.map { Float(Double(byte) * $0) } ?? Float(byte)
            guard let normalization else { return value }
            return (value - normalization.mean[channel]) / normalization.std[channel]
        }
    }
}

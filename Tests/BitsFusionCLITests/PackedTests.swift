// SPDX-License-Identifier: Apache-2.0
// Packed files as a user meets them: every encoding holds the same codes, damage is found and named, and `info` says
// what each layer takes.

import BitsFusion
import Foundation
import TestKit
import Testing

@Suite struct PackedTests {
    private func succeed(_ run: ProgramRun) throws { try #require(run.status == 0, "\(run.errors)") }

    /// A folder with model.h5 and a packed file of it for each name, made with the options behind it.
    private func folder(_ files: [String: [String]]) throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        for (name, options) in files {
            try succeed(
                folder.run(
                    ["quantize", "model.h5", "--recipe", "recipe.json", "-o", name, "--quiet"] + options))
        }
        return folder
    }

    @Test("files of all encodings store the same model, and 16-bit scales are reported", .slow)
    func encodings() throws {
        let folder = try folder([
            "entropy.h5": [], "radix.h5": ["--encoding", "radix"], "fixed.h5": ["--encoding", "fixed"],
            "half.h5": ["--scales", "float16"],
        ])
        for name in ["radix.h5", "fixed.h5"] {
            let run = try folder.run("verify", name, "entropy.h5")
            try succeed(run)
            #expect(run.output.hasSuffix("equal\n"))
        }
        let half = try folder.run("verify", "radix.h5", "half.h5", "--json")
        try succeed(half)
        let report = try #require(
            JSONSerialization.jsonObject(with: Data(half.output.utf8)) as? [String: Any])
        #expect(report["hasRoundedScales"] as? Bool == true)
        #expect((report["outputs"] as? [Any])?.count == 2)
    }

    @Test("verify names the first difference, and models that it cannot compare", .slow)
    func differences() throws {
        let folder = try folder(["packed.h5": []])
        try succeed(folder.run("init", "--config", "config.json", "--seed", "8", "-o", "other.h5"))
        try succeed(
            folder.run("quantize", "other.h5", "--recipe", "recipe.json", "-o", "other-packed.h5", "--quiet"))
        let other = try folder.run("verify", "other-packed.h5", "packed.h5")
        #expect(other.status == 65)
        #expect(other.errorLines.count == 1 && other.errors.contains("conv_in: "))
        let codes = other.output.split(separator: "\n").filter { $0.hasSuffix(" codes differ") }
        #expect(codes.count == 11 && codes.last?.wholeMatch(of: /... and [0-9]+ more: N of N codes differ/) != nil)
        let dense = try folder.run("verify", "model.h5", "packed.h5")
        #expect(dense.status == 65 && dense.errors.contains("no quantized layers"))
        let turned = try folder.run("verify", "packed.h5", "model.h5")
        #expect(turned.status == 65 && turned.errors.contains("expected a packed file"))
    }

    @Test(
        "the error for a corrupt code names its layer, in every encoding", .slow,
        arguments: PackingEncoding.allCases)
    func corruptCode(encoding: PackingEncoding) throws {
        let folder = try folder(["packed.h5": ["--encoding", encoding.rawValue]])
        try folder.makeInputs()
        let layer = "down_blocks.0.resnets.0.conv2"
        let codes = try CheckpointReader(folder.file("packed.h5")).packedLayer(layer).codes
        var bytes = try folder.data("packed.h5")
        let range = try #require(bytes.range(of: Data(codes)))
        bytes[range.lowerBound + codes.count / 2] ^= 1
        try bytes.write(to: folder.url("corrupt.h5"))
        for command in [
            ["predict", "corrupt.h5", "--inputs", "in.safetensors"],
            ["export", "corrupt.h5", "-o", "folder"],
            ["verify", "packed.h5", "corrupt.h5"], ["info", "corrupt.h5"],
        ] {
            let run = try folder.run(command)
            #expect(run.status == 65, "\(command)")
            #expect(run.errorLines.count == 1 && run.errors.contains(layer), "\(run.errors)")
        }
        #expect(!folder.names.contains("folder"))
    }

    @Test("verify reports different cached timesteps, and compares files at those that they share", .slow)
    func otherTimesteps() throws {
        let folder = try folder([
            "few.h5": ["--cached-steps", "5"], "many.h5": [], "none.h5": ["--cached-steps", "0"],
        ])
        let other = try folder.run("verify", "few.h5", "many.h5")
        #expect(other.status == 65 && other.errorLines.count == 1)
        #expect(other.errors.contains("time features: are cached for other timesteps"))
        try succeed(folder.run("verify", "none.h5", "few.h5"))
    }

    @Test("the error for other corrupt data names its HDF5 group", .slow)
    func corruptGroups() throws {
        let folder = try folder(["packed.h5": []])
        try folder.makeInputs()
        let sound = try folder.data("packed.h5")
        let reader = try CheckpointReader(folder.file("packed.h5"))
        let layer = "mid_block.resnets.0.conv1"
        let scales = try reader.packedLayer(layer).scales.withUnsafeBytes { Data($0) }
        let gain = try reader.parameters.tensor("conv_norm_out.weight").values.withUnsafeBytes { Data($0) }
        let features = try #require(reader.timeFeatures()?.features["mid_block.resnets.0"])
        let half = features.withUnsafeBufferPointer { Float16Bits.encode($0, .float16) }
            .withUnsafeBytes { Data($0) }
        for (part, name) in [(scales, layer), (gain, "/unet"), (half, "/time_features")] {
            var bytes = sound
            let range = try #require(bytes.range(of: part), "\(name)")
            bytes[range.upperBound - 2] ^= 1
            try bytes.write(to: folder.url("corrupt.h5"))
            let run = try folder.run("predict", "corrupt.h5", "--inputs", "in.safetensors")
            #expect(run.status == 65 && run.errorLines.count == 1, "\(name)")
            #expect(run.errors.contains(name) && run.errors.contains("checksum"), "\(run.errors)")
        }
    }

    @Test(
        "info lists the bytes of each layer, and the parts add up to the file", .slow,
        arguments: PackingEncoding.allCases)
    func information(encoding: PackingEncoding) throws {
        let folder = try folder(["packed.h5": ["--encoding", encoding.rawValue]])
        let run = try folder.run("info", "packed.h5", "--json")
        try succeed(run)
        let info = try #require(JSONSerialization.jsonObject(with: Data(run.output.utf8)) as? [String: Any])
        let quantized = try #require(info["quantized"] as? [String: Any])
        #expect(quantized["encoding"] as? String == encoding.rawValue)
        #expect(quantized["storedBytes"] as? Int == (try folder.data("packed.h5").count))
        let reader = try CheckpointReader(folder.file("packed.h5"))
        for layer in try #require(info["layers"] as? [[String: Any]]) {
            let path = try #require(layer["path"] as? String)
            guard layer["bits"] is Int else { continue }
            let record = try reader.packedLayer(path)
            let bytes = record.codes.count + 4 * record.scales.count
            #expect(layer["bytes"] as? Int == bytes)
            let bits = try #require(layer["storedBitsPerWeight"] as? Double)
            #expect(abs(bits - 8 * Double(bytes) / Double(record.count)) < 1e-9)
        }
    }

    @Test("sizes that depend on the weights are not forecast")
    func entropyForecast() throws {
        let folder = try folder([:])
        for command in [
            ["info", "config.json", "--recipe", "recipe.json", "--encoding", "entropy"],
            ["allocate", "--encoding", "entropy"],
        ] {
            let run = try folder.run(command)
            #expect(
                run.status == 64
                    && run.errors.contains("--encoding: invalid value: expected one of 'fixed' and 'radix'"),
                "\(run.errors)")
        }
        let packed = try folder.run("quantize", "model.h5", "-o", "packed.h5", "--quiet")
        try succeed(packed)
        let run = try folder.run("info", "packed.h5", "--encoding", "radix")
        #expect(run.status == 64 && run.errors.contains("the file is packed already"), "\(run.errors)")
    }
}

// SPDX-License-Identifier: Apache-2.0
// Checkpoints that are not what they claim: every fault is told by its own error, which names the file and the place.

import Files
import Foundation
import Packing
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct CheckpointFaultTests {
    /// Writes a checkpoint's header, each part replaceable or, where nil, left out.
    private func write(
        _ path: String, format: String? = "bitsfusion-model", version: Int? = 2,
        architecture: String? = "UNet2DConditionModel", component: String? = "unet", tokenizer: String? = nil,
        documents: [String: String] = ["manifest": "{}", "unet": "{}"], groups: [String] = ["/unet"],
        _ more: (borrowing HDF5File) throws -> Void = { _ in }
    ) throws {
        let file = try HDF5File.create(path)
        if let format { try file.setText("format", format) }
        if let version { try file.setInteger("format_version", version) }
        if let architecture { try file.setText("architecture", architecture) }
        if let component { try file.setText("component", component) }
        if let tokenizer { try file.setText("tokenizer", tokenizer) }
        try file.createGroup("/header")
        for (name, text) in documents { try file.setDocument("/header/" + name, text) }
        for group in groups { try file.createGroup(group) }
        if format == "bitsfusion-packed" {
            var checksums = SectionChecksums()
            for (name, text) in documents { checksums.add(document: "/header/" + name, text) }
            for (group, checksum) in checksums.groups { try file.setInteger("crc32", Int(checksum), of: group) }
        }
        try more(file)
        try file.close()
    }

    private func attribute(_ path: String, _ name: String, _ fault: AttributeFault) -> HDF5Error {
        .attribute(file: path, object: "/", name: name, fault: fault)
    }

    @Test("missing and foreign root attributes are named")
    func rootAttributes() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        func expect(_ error: some Error & Equatable) { #expect(throws: error) { try CheckpointReader(path) } }
        try write(path, format: nil)
        expect(attribute(path, "format", .missing))
        try write(path, format: "gguf")
        let known = "bitsfusion-model, bitsfusion-student, bitsfusion-packed"
        expect(attribute(path, "format", .value(expected: known, found: "gguf")))
        try write(path, version: nil)
        expect(attribute(path, "format_version", .missing))
        for version in [1, 3] {
            try write(path, version: version)
            expect(CheckpointError.version(file: path, expected: 2, found: version))
        }
        try write(path, architecture: nil)
        expect(attribute(path, "architecture", .missing))
        try write(path, component: nil)
        expect(attribute(path, "component", .missing))
        try write(path, tokenizer: "words")
        expect(attribute(path, "tokenizer", .value(expected: "none without a text encoder", found: "words")))
        try write(
            path, documents: ["manifest": "{}", "unet": "{}", "text_encoder": "{}"], groups: ["/unet", "/text_encoder"])
        expect(attribute(path, "tokenizer", .missing))
    }

    @Test("another architecture than the caller's is refused by name")
    func architecture() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        try write(
            path, architecture: "DiTTransformer2DModel", component: "transformer",
            documents: ["manifest": "{}", "transformer": "{}"], groups: ["/transformer"])
        let reader = try CheckpointReader(path)
        #expect(reader.parameters.keys.isEmpty)
        let fault = AttributeFault.value(expected: "UNet2DConditionModel", found: "DiTTransformer2DModel")
        #expect(throws: attribute(path, "architecture", fault)) {
            try reader.require(architecture: "UNet2DConditionModel")
        }
    }

    @Test("documents of the header must exist and be JSON objects")
    func documents() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        func expect(_ error: some Error & Equatable) { #expect(throws: error) { try CheckpointReader(path) } }
        try write(path, documents: ["manifest": "{}"])
        expect(HDF5Error.object(file: path, object: "/header/unet", fault: .missing))
        try write(path, documents: ["unet": "{}"])
        expect(HDF5Error.object(file: path, object: "/header/manifest", fault: .missing))
        try write(path, documents: ["manifest": "{}", "unet": "{\"a\": }"])
        expect(
            JSONError(
                file: path, document: "/header/unet",
                fault: .syntax(offset: 6, expected: "a JSON value")))
        try write(path, documents: ["manifest": "{}", "unet": "[]"])
        expect(JSONError(file: path, document: "/header/unet", fault: .syntax(offset: 0, expected: "an object")))
        try write(path, documents: ["manifest": "{}"]) {
            _ = try $0.createDataset("/header/unet", type: .float32, shape: [])
        }
        expect(
            HDF5Error.object(
                file: path, object: "/header/unet",
                fault: .value(expected: "one fixed-length string in UTF-8", found: "float32")))
    }

    @Test("groups that the format needs must exist, and others must not")
    func groups() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        func expect(_ group: String, _ fault: ObjectFault = .missing) {
            #expect(throws: HDF5Error.object(file: path, object: group, fault: fault)) {
                try CheckpointReader(path)
            }
        }
        try write(path, groups: [])
        expect("/unet")
        try write(path, format: "bitsfusion-student")
        expect("/quantization/unet")
        try write(path, format: "bitsfusion-packed")
        expect("/packed/unet")
        try write(path, tokenizer: "words", documents: ["manifest": "{}", "unet": "{}", "text_encoder": "{}"])
        expect("/text_encoder")
        try write(path, groups: ["/unet", "/vae"])
        expect("/vae", .value(expected: "one of unet", found: "another component"))
    }

    @Test("a student's dead zone must be one of a grid", arguments: [Float(0.4), 1, .nan])
    func deadZone(_ deadZone: Float) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        let object = "/quantization/unet/a/scale"
        try write(path, format: "bitsfusion-student", groups: ["/unet"]) { file in
            _ = try file.createDataset(object, type: .float32, shape: [2], hasAttributes: true)
            try file.setInteger("bits", 1, of: object)
            try file.setInteger("levels", 3, of: object)
            try file.setFloat("dead_zone", deadZone, of: object)
        }
        let fault = AttributeFault.value(expected: "0.5 to below 1", found: "\(deadZone)")
        #expect(throws: HDF5Error.attribute(file: path, object: object, name: "dead_zone", fault: fault)) {
            try CheckpointReader(path).quantization(of: "a")
        }
    }

    @Test("a dataset whose name holds a dot cannot be told from a group, and is refused")
    func dottedName() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        try write(path) { _ = try $0.createDataset("/unet/a.weight", type: .float32, shape: [1]) }
        #expect(throws: CheckpointError.invalidKey(file: path, key: "/unet/a.weight")) {
            try CheckpointReader(path)
        }
    }

    @Test(
        "NaN and infinity are found wherever they stand, in every float type",
        arguments: [0, 1, 65535, 65536, 99_999])
    func notFinite(_ index: Int) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        for (bad, type) in [(Float.nan, StorageType.float32), (-.infinity, .float32)] {
            var values = SampleCheckpoint.values(100_000)
            values[index] = bad
            try write(path) { file in
                let dataset = try file.createDataset("/unet/a/weight", type: type, shape: [100_000])
                try values.withUnsafeBytes { try dataset.write($0) }
            }
            let reader = try CheckpointReader(path)
            #expect(throws: CheckpointError.notFinite(file: path, key: "a.weight", index: index, count: 1)) {
                try reader.parameters.tensor("a.weight")
            }
        }
        for (bits, type) in [(UInt16(0x7C00), StorageType.float16), (0xFE01, .float16), (0x7F80, .bfloat16)] {
            var values = [UInt16](repeating: 0x3C00, count: 100_000)
            values[index] = bits
            try write(path) { file in
                let dataset = try file.createDataset("/unet/a/weight", type: type, shape: [100_000])
                try values.withUnsafeBytes { try dataset.write($0) }
            }
            let reader = try CheckpointReader(path)
            for read in [
                { _ = try reader.parameters.tensor("a.weight") }, { _ = try reader.parameters.halfWeight("a.weight") },
            ] {
                #expect(
                    throws: CheckpointError.notFinite(file: path, key: "a.weight", index: index, count: 1)
                ) {
                    try read()
                }
            }
        }
    }

    @Test("integers where weights should be are an error that names the type")
    func elementType() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        try write(path) { _ = try $0.createDataset("/unet/a", type: .int32, shape: [1]) }
        let reader = try CheckpointReader(path)
        #expect(
            throws: CheckpointError.elementType(
                file: path, key: "a", expected: ["float32", "float16", "bfloat16"], found: "int32")
        ) { try reader.parameters.tensor("a") }
        #expect(throws: CheckpointError.missingKey(file: path, key: "b")) { try reader.parameters.tensor("b") }
    }

    private func checksum(_ codes: [UInt8], _ scales: [Float]) -> UInt32 {
        CRC32.checksum(of: scales.withUnsafeBytes { Array($0) }, after: CRC32.checksum(of: codes))
    }

    /// Writes one packed layer part by part and reads it back.
    private func readPacked(
        bits: Int = 1, levels: Int = 3, encoding: String = "radix", shape: [Int] = [2, 5],
        codes: [UInt8] = [121, 121],
        scales: [Float] = [1, 2], checksum: Int? = nil
    ) throws -> (String, Result<PackedLayerRecord, any Error>) {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        try write(path, format: "bitsfusion-packed", groups: ["/unet", "/packed/unet"]) { file in
            let object = "/packed/unet/a/codes"
            let dataset = try file.createDataset(object, type: .uint8, shape: [codes.count])
            try codes.withUnsafeBytes { try dataset.write($0) }
            try file.setInteger("bits", bits, of: object)
            try file.setInteger("levels", levels, of: object)
            try file.setText("encoding", encoding, of: object)
            try file.setIntegers("shape", shape, of: object)
            try file.setInteger("crc32", checksum ?? Int(self.checksum(codes, scales)), of: object)
            let scale = try file.createDataset("/packed/unet/a/scale", type: .float32, shape: [scales.count])
            try scales.withUnsafeBytes { try scale.write($0) }
        }
        let reader = try CheckpointReader(path)
        return (path, Result { () throws in try reader.packedLayer("a") })
    }

    @Test("the parts of a packed layer must belong together")
    func packedLayers() throws {
        #expect(try readPacked().1.get().dequantized().values == [Float](repeating: 0, count: 10))
        func expect(
            _ fault: PackedLayerFault, _ read: (String, Result<PackedLayerRecord, any Error>)
        ) {
            #expect(throws: PackedLayerError(file: read.0, layer: "a", fault: fault)) {
                try read.1.get()
            }
        }
        expect(.levels(bits: 1, found: 5), try readPacked(levels: 5))
        expect(.levels(bits: 0, found: 2), try readPacked(bits: 0, levels: 2))
        expect(.encoding("huffman"), try readPacked(encoding: "huffman"))
        expect(.codeBytes(expected: 3, found: 2), try readPacked(encoding: "fixed"))
        expect(.codeBytes(expected: 3, found: 2), try readPacked(shape: [3, 5]))
        expect(.shape([10]), try readPacked(shape: [10]))
        expect(.shape([-1, 5]), try readPacked(shape: [-1, 5]))
        expect(.shape([1 << 40, 1 << 40]), try readPacked(shape: [1 << 40, 1 << 40]))
        expect(.scaleCount(expected: 2, found: 3), try readPacked(scales: [1, 2, 3]))
        expect(.scale(channel: 1, found: 0), try readPacked(scales: [1, 0]))
        expect(.scale(channel: 0, found: -1), try readPacked(scales: [-1, 1]))
        let sum = checksum([121, 121], [1, 2])
        expect(.checksum(expected: 5, found: sum), try readPacked(checksum: 5))
        expect(
            .checksum(expected: sum, found: checksum([121, 121], [1, 3])),
            try readPacked(scales: [1, 3], checksum: Int(sum)))
        expect(.shape([2, 5, 1]), try readPacked(shape: [2, 5, 1]))
        let (path, result) = try readPacked(scales: [1, .nan])
        #expect(throws: CheckpointError.notFinite(file: path, key: "a.scale", index: 1, count: 1)) {
            try result.get()
        }
    }

    @Test("a packed file holds nothing but what it needs")
    func strayObjects() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        for group in ["/quantization/unet", "/training"] {
            try write(path, format: "bitsfusion-packed", groups: ["/unet", "/packed/unet", group])
            #expect(
                throws: HDF5Error.object(
                    file: path, object: group,
                    fault: .value(expected: "a group of packed files", found: "another group"))
            ) { try CheckpointReader(path) }
        }
        try write(path, format: "bitsfusion-packed", groups: ["/unet", "/packed/unet"]) { file in
            _ = try file.createDataset("/packed/unet/a/scale", type: .float32, shape: [0])
        }
        #expect(throws: CheckpointError.unusedKeys(file: path, keys: ["a.scale"])) {
            try CheckpointReader(path)
        }
    }

    @Test("a scale that float16 would round to zero is refused")
    func smallScale() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        let layer = try PackedLayerRecord(
            path: "a", grid: QuantizationGrid(BitWidth(1)), encoding: .radix, shape: [2, 5], codes: [0, 0],
            scales: [1, 1e-9])
        let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.packed))
        #expect(
            throws: PackedLayerError(
                file: path, layer: "a", fault: .scale(channel: 1, found: 1e-9))
        ) { try writer.write(layer, scaleType: .float16) }
    }

    @Test("time features must have different timesteps and one row for each")
    func timeFeatures() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        func read(_ timesteps: [Int64], rows: Int) throws -> CheckpointReader {
            try write(path, groups: ["/unet"]) { file in
                let list = try file.createDataset(
                    "/time_features/timesteps", type: .int64, shape: [timesteps.count])
                try timesteps.withUnsafeBytes { try list.write($0) }
                let table = try file.createDataset("/time_features/a/0", type: .float16, shape: [rows, 3])
                try [UInt16](repeating: 0, count: rows * 3).withUnsafeBytes { try table.write($0) }
            }
            return try CheckpointReader(path)
        }
        #expect(try read([5, 1], rows: 2).timeFeatures()?.timesteps == [5, 1])
        #expect(
            throws: CheckpointError.shapeMismatch(file: path, key: "a.0", expected: [2, 3], found: [3, 3])
        ) {
            try read([5, 1], rows: 3).timeFeatures()
        }
        for timesteps in [[5, 5], [-1, 5], [5, 1_000_000]] as [[Int64]] {
            #expect(
                throws: HDF5Error.object(
                    file: path, object: "/time_features/timesteps",
                    fault: .value(
                        expected: "different timesteps from 0 to 999999", found: "\(timesteps)"))
            ) { try read(timesteps, rows: 2).timeFeatures() }
        }
    }

    @Test(
        "thousands of damaged checkpoints give errors or the same kind of value, never a crash", .slow,
        arguments: 0..<4)
    func fuzz(_ round: UInt64) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        try round % 2 == 0 ? SampleCheckpoint.writePacked(path) : SampleCheckpoint.writeStudent(path)
        let good = try folder.bytes("a.h5")
        var random = SplitMix(seed: 100 + round)
        var refused = 0
        let inputs = fuzzInputs(750, share: 0.01)
        for _ in 0..<inputs {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(
                    in: 0...255, using: &random)
            }
            if random.next() % 8 == 0 { bytes.removeLast(Int.random(in: 1...bytes.count, using: &random)) }
            let damaged = try folder.write("b.h5", bytes)
            do throws { try readEverything(damaged) } catch { refused += 1 }
        }
        #expect(refused * 10 > inputs)
    }

    private func readEverything(_ path: String) throws {
        let reader = try CheckpointReader(path)
        for key in reader.parameters.keys { _ = try reader.parameters.tensor(key) }
        for layer in reader.packedLayers {
            // The checksum finds what is damaged in codes; what it does not is found when they are decoded.
            _ = try? reader.packedLayer(layer).dequantized()
        }
        for layer in reader.quantizedLayers { _ = try reader.quantization(of: layer) }
        _ = try reader.timeFeatures()
        guard let state = try reader.trainingState() else { return }
        for key in state.tensors.keys { _ = try state.tensors.tensor(key) }
    }
}

// SPDX-License-Identifier: Apache-2.0
// safetensors files: round trips, every way in which a header can lie, and shards.

import Files
import Foundation
import TestKit
import Testing

@testable import Checkpoints

/// A safetensors file from a header text and data bytes, with a true or a given header length.
func safetensorsBytes(_ header: String, _ data: [UInt8], length: UInt64? = nil) -> [UInt8] {
    let text = Array(header.utf8)
    return withUnsafeBytes(of: (length ?? UInt64(text.count)).littleEndian) { Array($0) } + text + data
}

@Suite struct SafetensorsTests {
    @Test("every element type round-trips bit for bit, whatever the order of writing")
    func roundTrip() throws {
        let folder = try TemporaryFolder()
        var random = SplitMix(seed: 1)
        var tensors: [String: StoredTensor] = [:]
        var contents: [String: [UInt8]] = [:]
        for type in StorageType.allCases {
            for shape in [[], [0], [1], [3, 5], [2, 3, 1, 7]] {
                let key = "layer.\(type.rawValue).\(shape.count)d\(shape.reduce(1, *))"
                tensors[key] = StoredTensor(type: type, shape: shape)
                contents[key] = random.bytes(shape.reduce(1, *) * type.bytesPerElement)
            }
        }
        let path = folder.file("a.safetensors")
        let writer = try SafetensorsWriter(path, tensors: tensors)
        for (key, bytes) in contents { try bytes.withUnsafeBytes { try writer.write(key, $0) } }
        try writer.finish()

        let reader = try SafetensorsReader(path)
        #expect(reader.keys == tensors.keys.sorted { $0.utf8.lexicographicallyPrecedes($1.utf8) })
        #expect(reader.metadata == ["format": "pt"])
        for (key, bytes) in contents {
            #expect(reader.stored(key)?.type == tensors[key]?.type)
            #expect(reader.stored(key)?.shape == tensors[key]?.shape)
            #expect(try reader.bytes(key) == bytes, "\(key)")
        }
        #expect(folder.names == ["a.safetensors"])
    }

    @Test("keys and metadata with quotes, backslashes, line breaks and emoji survive")
    func awkwardNames() throws {
        let folder = try TemporaryFolder()
        let keys = ["a\"b", "back\\slash", "line\nbreak", "😀", "\u{01}", ""]
        let path = folder.file("a.safetensors")
        let tensor = StoredTensor(type: .uint8, shape: [1])
        let writer = try SafetensorsWriter(
            path, tensors: Dictionary(uniqueKeysWithValues: keys.map { ($0, tensor) }),
            metadata: ["k\"": "v\\\n"])
        for (index, key) in keys.enumerated() {
            try [UInt8(index)].withUnsafeBytes { try writer.write(key, $0) }
        }
        try writer.finish()
        let reader = try SafetensorsReader(path)
        for (index, key) in keys.enumerated() { #expect(try reader.bytes(key) == [UInt8(index)]) }
        #expect(reader.metadata == ["k\"": "v\\\n"])
    }

    @Test("the same content gives the same bytes; data starts at a multiple of 8, wide elements first")
    func deterministic() throws {
        let folder = try TemporaryFolder()
        let tensors = [
            "b": StoredTensor(type: .float32, shape: [1]), "a": StoredTensor(type: .float16, shape: [1]),
            "c": StoredTensor(type: .float32, shape: [1]),
        ]
        for name in ["1", "2"] {
            let writer = try SafetensorsWriter(folder.file(name), tensors: tensors)
            for key in name == "1" ? ["a", "b", "c"] : ["c", "b", "a"] {
                let bytes = [UInt8](repeating: key.utf8.first ?? 0, count: tensors[key]?.byteCount ?? 0)
                try bytes.withUnsafeBytes { try writer.write(key, $0) }
            }
            try writer.finish()
        }
        let bytes = try folder.bytes("1")
        #expect(try bytes == folder.bytes("2"))
        #expect(Array(bytes.suffix(10)) == Array("bbbbccccaa".utf8))
        #expect((bytes.count - 10) % 8 == 0)
    }

    @Test("a writer that never finishes leaves nothing")
    func abandoned() throws {
        let folder = try TemporaryFolder()
        do {
            let tensors = ["a": StoredTensor(type: .float32, shape: [4])]
            let writer = try SafetensorsWriter(folder.file("a.safetensors"), tensors: tensors)
            try [Float](repeating: 1, count: 4).withUnsafeBytes { try writer.write("a", $0) }
            #expect(folder.names.count == 1)
        }
        #expect(folder.names.isEmpty)
    }

    @Test("an output in a missing folder cannot be created")
    func cannotCreate() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("x/a.safetensors")
        #expect(throws: FileError.cannotCreate(path: path, code: ENOENT)) {
            try SafetensorsWriter(path, tensors: [:])
        }
    }

    static let liars: [(String, [UInt8], SafetensorsFault)] = [
        ("short", [1, 2, 3], .tooShort(bytes: 3)),
        (
            "huge header", safetensorsBytes("{}", [], length: 100_000_001),
            .headerTooLarge(bytes: 100_000_001, limit: 100_000_000)
        ),
        (
            "huger header", safetensorsBytes("{}", [], length: .max),
            .headerTooLarge(bytes: .max, limit: 100_000_000)
        ),
        (
            "header past the end", safetensorsBytes("{}", [], length: 3),
            .headerBeyondFile(bytes: 3, available: 2)
        ),
        ("empty header", safetensorsBytes("", []), .syntax(offset: 0, expected: "\"{\"")),
        ("leading space", safetensorsBytes(" {}", []), .syntax(offset: 0, expected: "\"{\"")),
        ("cut header", safetensorsBytes("{\"a\":", []), .syntax(offset: 5, expected: "a JSON value")),
        ("a list", safetensorsBytes("[]", []), .syntax(offset: 0, expected: "\"{\"")),
        (
            "not UTF-8",
            withUnsafeBytes(of: UInt64(5).littleEndian) { Array($0) } + [0x7B, 0x22, 0xFF, 0x22, 0x7D],
            .notUTF8
        ),
        (
            "duplicate",
            safetensorsBytes(
                "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                    + "\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,2]}}", [0, 0]),
            .duplicateKey("a")
        ),
        (
            "metadata is text", safetensorsBytes("{\"__metadata__\":{\"a\":1}}", []),
            .field(key: "__metadata__", field: "a", expected: "text")
        ),
        (
            "metadata is an object", safetensorsBytes("{\"__metadata__\":3}", []),
            .field(key: "__metadata__", field: "", expected: "an object")
        ),
        (
            "entry is an object", safetensorsBytes("{\"a\":3}", []),
            .field(key: "a", field: "", expected: "an object")
        ),
        (
            "no dtype", safetensorsBytes("{\"a\":{\"shape\":[1],\"data_offsets\":[0,1]}}", [0]),
            .field(key: "a", field: "dtype", expected: "text")
        ),
        (
            "negative extent",
            safetensorsBytes("{\"a\":{\"dtype\":\"U8\",\"shape\":[-1],\"data_offsets\":[0,1]}}", [0]),
            .field(key: "a", field: "shape", expected: "a list of integers from 0 to 2^63-1")
        ),
        (
            "three offsets",
            safetensorsBytes("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1,1]}}", [0]),
            .field(key: "a", field: "data_offsets", expected: "two integers from 0 to 2^63-1")
        ),
        (
            "an unknown field",
            safetensorsBytes("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1],\"x\":0}}", [0]),
            .field(key: "a", field: "x", expected: "only dtype, shape, data_offsets")
        ),
        (
            "shape overflow",
            safetensorsBytes(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,0]}}", []),
            .shapeOverflow(key: "a", shape: [4_294_967_296, 4_294_967_296])
        ),
        (
            "byte overflow",
            safetensorsBytes(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[4611686018427387904],\"data_offsets\":[0,0]}}", []),
            .shapeOverflow(key: "a", shape: [4_611_686_018_427_387_904])
        ),
        (
            "reversed",
            safetensorsBytes("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[1,0]}}", [0]),
            .outOfRange(key: "a", begin: 1, end: 0, dataBytes: 1)
        ),
        (
            "out of range",
            safetensorsBytes("{\"a\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}", [0]),
            .outOfRange(key: "a", begin: 0, end: 9, dataBytes: 1)
        ),
        (
            "wrong size",
            safetensorsBytes(
                "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]}}", [0, 0, 0, 0]),
            .sizeMismatch(key: "a", dtype: "F32", shape: [2], expected: 8, found: 4)
        ),
        (
            "overlap",
            safetensorsBytes(
                "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},"
                    + "\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[1,3]}}", [0, 0, 0]),
            .overlap(key: "b", with: "a")
        ),
        (
            "gap",
            safetensorsBytes(
                "{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},"
                    + "\"b\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[2,3]}}", [0, 0, 0]),
            .unusedBytes(begin: 1, end: 2)
        ),
        (
            "trailing bytes",
            safetensorsBytes("{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}", [0, 7]),
            .unusedBytes(begin: 1, end: 2)
        ),
    ]

    @Test("a lying header is refused with the fault and the file named", arguments: liars)
    func refuses(_ name: String, _ bytes: [UInt8], _ fault: SafetensorsFault) throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("a.safetensors", bytes)
        let error = #expect(throws: SafetensorsError(file: path, fault: fault)) {
            try SafetensorsReader(path)
        }
        let text = String(describing: try #require(error))
        #expect(text.hasPrefix(path) && !text.contains("\n"))
    }

    @Test("other kinds of file are named for what they are")
    func otherKinds() throws {
        let folder = try TemporaryFolder()
        let cases: [(String, FileKind)] = [
            (try folder.write("empty", []), .empty), (try folder.write("zip", [0x50, 0x4B, 3, 4, 0]), .zip),
            (folder.path, .folder), ("/dev/null", .special),
        ]
        for (path, kind) in cases {
            #expect(throws: FileError.wrongKind(path: path, expected: .safetensors, found: kind)) {
                try SafetensorsReader(path)
            }
        }
        #expect(throws: FileError.missingFile(path: folder.file("none"))) {
            try SafetensorsReader(folder.file("none"))
        }
    }

    @Test("an element type that models do not use is no error until it is read")
    func unusedTypes() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write(
            "a.safetensors",
            safetensorsBytes(
                "{\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]},"
                    + "\"b\":{\"dtype\":\"F4\",\"shape\":[3],\"data_offsets\":[8,10]},"
                    + "\"c\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[10,11]}}",
                [UInt8](repeating: 7, count: 11)))
        let reader = try SafetensorsReader(path)
        #expect(try reader.bytes("c") == [7])
        for (key, name) in [("a", "F64"), ("b", "F4")] {
            let expected = StorageType.allCases.map(\.rawValue)
            #expect(
                throws: CheckpointError.elementType(file: path, key: key, expected: expected, found: name)
            ) {
                try reader.bytes(key)
            }
        }
        #expect(throws: CheckpointError.missingKey(file: path, key: "d")) { try reader.bytes("d") }
    }

    @Test("metadata may be null")
    func nullMetadata() throws {
        let folder = try TemporaryFolder()
        let path = try folder.write("a.safetensors", safetensorsBytes("{\"__metadata__\":null}", []))
        #expect(try SafetensorsReader(path).metadata.isEmpty)
    }

    @Test("integers of every width read as integers")
    func integers() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.safetensors")
        let writer = try SafetensorsWriter(
            path,
            tensors: [
                "i64": StoredTensor(type: .int64, shape: [2]), "i32": StoredTensor(type: .int32, shape: [1]),
                "i8": StoredTensor(type: .int8, shape: [1]), "f": StoredTensor(type: .float32, shape: [1]),
            ])
        try [Int64(-5), 1 << 40].withUnsafeBytes { try writer.write("i64", $0) }
        try [Int32(-7)].withUnsafeBytes { try writer.write("i32", $0) }
        try [Int8(-1)].withUnsafeBytes { try writer.write("i8", $0) }
        try [Float(1)].withUnsafeBytes { try writer.write("f", $0) }
        try writer.finish()
        let reader = try SafetensorsReader(path)
        #expect(try reader.integers("i64") == [-5, 1 << 40])
        #expect(try reader.integers("i32") == [-7])
        #expect(try reader.integers("i8") == [-1])
        #expect(throws: CheckpointError.self) { try reader.integers("f") }
    }

    @Test("thousands of damaged files give errors, never a crash")
    func fuzz() throws {
        let folder = try TemporaryFolder()
        let good = safetensorsBytes(
            "{\"__metadata__\":{\"format\":\"pt\"},\"x.weight\":"
                + "{\"dtype\":\"F32\",\"shape\":[2,3],\"data_offsets\":[0,24]},"
                + "\"y\":{\"dtype\":\"BF16\",\"shape\":[4],\"data_offsets\":[24,32]}}", [UInt8](0..<32))
        var random = SplitMix(seed: 7)
        var refused = 0
        for _ in 0..<4000 {
            var bytes = good
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let at = Int.random(in: 0..<bytes.count - 32, using: &random)
                bytes[at] = UInt8.random(in: 0...255, using: &random)
            }
            if random.next() % 4 == 0 { bytes.removeLast(Int.random(in: 1...bytes.count, using: &random)) }
            let path = try folder.write("fuzz.safetensors", bytes)
            do throws {
                let reader = try SafetensorsReader(path)
                for key in reader.keys where reader.stored(key)?.type != nil { _ = try reader.bytes(key) }
            } catch {
                refused += 1
            }
        }
        #expect(refused > 3000)
    }

    @Test(
        "Python's safetensors reads what we write",
        .enabled(if: Python.has("safetensors", "numpy"), "Python with safetensors and numpy is not installed")
    )
    func readByPython() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.safetensors")
        let writer = try SafetensorsWriter(
            path,
            tensors: [
                "a.weight": StoredTensor(type: .float32, shape: [2, 3]),
                "b": StoredTensor(type: .float16, shape: [2]),
                "n": StoredTensor(type: .int64, shape: []),
            ])
        try [Float]([0, 1, 2, 3, 4, 0.5]).withUnsafeBytes { try writer.write("a.weight", $0) }
        try [UInt16]([0x3C00, 0xC000]).withUnsafeBytes { try writer.write("b", $0) }
        try [Int64(9)].withUnsafeBytes { try writer.write("n", $0) }
        try writer.finish()
        let printed = try Python.run(
            """
            import sys
            from safetensors import safe_open
            with safe_open(sys.argv[1], "numpy") as f:
                print(sorted(f.keys()), f.metadata(), f.get_tensor("a.weight").tolist(), f.get_tensor("b").tolist(),
                      f.get_tensor("b").dtype, int(f.get_tensor("n")))
            """, path)
        #expect(
            printed
                == "['a.weight', 'b', 'n'] {'format': 'pt'} [[0.0, 1.0, 2.0], [3.0, 4.0, 0.5]] [1.0, -2.0] float16 9\n"
        )
    }
}

@Suite struct ShardedSafetensorsTests {
    private func shard(_ folder: TemporaryFolder, _ name: String, _ keys: [String], value: UInt8) throws {
        let tensor = StoredTensor(type: .uint8, shape: [2])
        let writer = try SafetensorsWriter(
            folder.file(name), tensors: Dictionary(uniqueKeysWithValues: keys.map { ($0, tensor) }))
        for key in keys { try [value, value].withUnsafeBytes { try writer.write(key, $0) } }
        try writer.finish()
    }

    @Test("keys are found in their shards")
    func reads() throws {
        let folder = try TemporaryFolder()
        try shard(folder, "m-1.safetensors", ["a", "c"], value: 1)
        try shard(folder, "m-2.safetensors", ["b"], value: 2)
        let index = try folder.write(
            "m.safetensors.index.json",
            #"{"metadata":{"total_size":6},"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors","#
                + #""c":"m-1.safetensors"}}"#
        )
        let reader = try ShardedSafetensors(index: index)
        #expect(reader.keys == ["a", "b", "c"])
        #expect(try reader.bytes("b") == [2, 2])
        #expect(try reader.bytes("c") == [1, 1])
        #expect(reader.shardPaths == [folder.file("m-1.safetensors"), folder.file("m-2.safetensors")])
    }

    @Test("an index that does not agree with its shards is refused")
    func disagreements() throws {
        let folder = try TemporaryFolder()
        try shard(folder, "m-1.safetensors", ["a", "c"], value: 1)
        func refused<Fault: Error & Equatable>(_ map: String, _ error: (String) -> Fault) throws {
            let index = try folder.write("i.json", #"{"weight_map":"# + map + "}")
            #expect(throws: error(index)) { try ShardedSafetensors(index: index) }
        }
        try refused(#"{"a":"m-1.safetensors"}"#) {
            SafetensorsError(file: $0, fault: .notInIndex(key: "c", shard: "m-1.safetensors"))
        }
        try refused(#"{"a":"m-1.safetensors","c":"m-1.safetensors","d":"m-1.safetensors"}"#) {
            SafetensorsError(file: $0, fault: .notInShard(key: "d", shard: "m-1.safetensors"))
        }
        try refused(#"{"a":"../m-1.safetensors"}"#) {
            SafetensorsError(file: $0, fault: .shardName("../m-1.safetensors"))
        }
        let missing = try folder.write("missing.index.json", #"{"weight_map":{"a":"m-9.safetensors"}}"#)
        #expect(throws: WeightFilesError.missingShard(index: missing, shard: "m-9.safetensors")) {
            try ShardedSafetensors(index: missing)
        }
        try refused(#"{"a":3}"#) {
            SafetensorsError(file: $0, fault: .field(key: "a", field: "weight_map", expected: "a file name"))
        }
        try refused("3") {
            JSONError(file: $0, document: "the shard index", fault: .syntax(offset: 0, expected: "a weight_map"))
        }
    }
}

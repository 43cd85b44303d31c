// SPDX-License-Identifier: Apache-2.0
// The HDF5 wrapper: round trips, determinism, damaged files, and what h5py makes of our files.

import Files
import Foundation
import TestKit
import Testing

@testable import Checkpoints

@Suite struct HDF5Tests {
    /// Writes a small file with every feature that checkpoints use.
    static func writeSample(_ path: String) throws {
        let file = try HDF5File.create(path)
        try file.setText("config", "{\"é\": 1}")
        try file.setInteger("format_version", 1)
        try file.setIntegers("shape", [4, 3], of: "/")
        var random = SplitMix(seed: 3)
        for type in StorageType.allCases {
            for shape in [[], [0], [5], [3, 4], [2, 3, 1, 2]] {
                let object = "/unet/\(type.rawValue)/\(shape.count)/\(shape.reduce(1, *))/weight"
                let dataset = try file.createDataset(object, type: type, shape: shape)
                try random.bytes(dataset.byteCount).withUnsafeBytes { try dataset.write($0) }
            }
        }
        try file.setText("note", "on a group", of: "/unet")
        try file.close()
    }

    @Test("every element type and rank round-trips bit for bit")
    func roundTrip() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        try Self.writeSample(path)
        let file = try HDF5File.open(path)
        #expect(try file.text("config") == "{\"é\": 1}")
        #expect(try file.text("nothing") == nil)
        #expect(try file.integers("format_version") == [1])
        #expect(try file.integers("shape") == [4, 3])
        #expect(try file.text("note", of: "/unet") == "on a group")
        var random = SplitMix(seed: 3)
        for type in StorageType.allCases {
            for shape in [[], [0], [5], [3, 4], [2, 3, 1, 2]] {
                let dataset = try file.dataset(
                    "/unet/\(type.rawValue)/\(shape.count)/\(shape.reduce(1, *))/weight")
                #expect(dataset.type == type && dataset.shape == shape)
                var bytes = [UInt8](repeating: 0, count: dataset.byteCount)
                try bytes.withUnsafeMutableBytes { try dataset.read(into: $0) }
                #expect(bytes == random.bytes(dataset.byteCount))
            }
        }
    }

    @Test("groups list their members by name, and all datasets below a group depth first")
    func lists() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        do {
            let file = try HDF5File.create(path)
            for object in ["/b/1/w", "/b/0/w", "/a", "/b/10/w"] {
                _ = try file.createDataset(object, type: .uint8, shape: [0])
            }
            try file.createGroup("/empty")
            try file.close()
        }
        let file = try HDF5File.open(path)
        #expect(
            try file.members(of: "/") == [
                .init(name: "a", kind: .dataset), .init(name: "b", kind: .group),
                .init(name: "empty", kind: .group),
            ])
        #expect(try file.datasets(below: "/") == ["/a", "/b/0/w", "/b/1/w", "/b/10/w"])
        #expect(try file.contains("/b/0/w") && !file.contains("/b/2/w") && file.contains("/"))
        #expect(throws: HDF5Error.object(file: path, object: "/c", fault: .missing)) {
            try file.members(of: "/c")
        }
    }

    @Test("rows are read and written alone")
    func slices() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        do {
            let file = try HDF5File.create(path)
            let dataset = try file.createDataset("/latents", type: .float32, shape: [4, 2, 3])
            for row in [2, 0, 1, 3] {
                let values = (0..<6).map { Float(row * 6 + $0) }
                try values.withUnsafeBytes { try dataset.write(rows: row..<row + 1, $0) }
            }
            try file.close()
        }
        let dataset = try HDF5File.open(path).dataset("/latents")
        var values = [Float](repeating: 0, count: 12)
        try values.withUnsafeMutableBytes { try dataset.read(rows: 1..<3, into: $0) }
        #expect(values == (6..<18).map { Float($0) })
        var nothing: [Float] = []
        try nothing.withUnsafeMutableBytes { try dataset.read(rows: 2..<2, into: $0) }
    }

    @Test("the same content gives the same bytes")
    func deterministic() throws {
        let folder = try TemporaryFolder()
        try Self.writeSample(folder.file("1.h5"))
        try Self.writeSample(folder.file("2.h5"))
        #expect(try folder.bytes("1.h5") == folder.bytes("2.h5"))
    }

    @Test(
        "files of formats newer than ours are read: make_hdf5_fixtures.py",
        arguments: [("latest", ["plain"]), ("v110", ["group/chunked", "plain", "resizable"])])
    func newerFormats(_ name: String, _ keys: [String]) throws {
        let tensors = try HDF5Tensors(Bundle.module.bundleURL.appendingPathComponent("Fixtures/\(name).h5").path)
        #expect(tensors.keys == keys)
        for key in tensors.keys {
            #expect(tensors.stored(key) == StoredTensor(type: .float32, shape: [2, 3, 4]))
            #expect(try tensors.tensor(key).values == (0..<24).map { Float($0) })
        }
    }

    @Test("a compression filter that the library does not have is named, and other datasets can be read")
    func missingFilter() throws {
        let path = Bundle.module.bundleURL.appendingPathComponent("Fixtures/lzf.h5").path
        let tensors = try HDF5Tensors(path, only: ["plain"])
        #expect(try tensors.tensor("plain").values == (0..<24).map { Float($0) })
        #expect(
            throws: HDF5Error.object(file: path, object: "/compressed", fault: .missingFilter(name: "lzf", id: 32000))
        ) { try HDF5Tensors(path) }
    }

    @Test("other kinds of file are named for what they are")
    func otherKinds() throws {
        let folder = try TemporaryFolder()
        var random = SplitMix(seed: 5)
        let cases: [(String, FileKind)] = [
            (try folder.write("empty", []), .empty),
            (try folder.write("random", random.bytes(5000)), .unknown),
            (try folder.write("zip", [0x50, 0x4B, 3, 4, 0]), .zip), (folder.path, .folder),
            ("/dev/null", .special),
            (try folder.write("s", safetensorsBytes("{}", [])), .safetensors),
            (try folder.write("j", "{}"), .json),
        ]
        for (path, kind) in cases {
            #expect(throws: FileError.wrongKind(path: path, expected: .hdf5, found: kind)) {
                _ = try HDF5File.open(path)
            }
        }
        #expect(throws: FileError.missingFile(path: folder.file("none"))) {
            _ = try HDF5File.open(folder.file("none"))
        }
    }

    @Test("a truncated file is refused with HDF5's first reason")
    func truncated() throws {
        let folder = try TemporaryFolder()
        try Self.writeSample(folder.file("a.h5"))
        let bytes = try folder.bytes("a.h5")
        for count in [8, 40, 100, bytes.count / 2, bytes.count - 1] {
            let path = try folder.write("cut.h5", Array(bytes.prefix(count)))
            let error = #expect(throws: HDF5Error.self) { _ = try HDF5File.open(path) }
            guard case .failed(path, "/", HDF5Operation.openFile, let cause) = error else {
                Issue.record("\(count) bytes: \(String(describing: error))")
                continue
            }
            #expect(!cause.isEmpty && !cause.contains("\n"))
            #expect(error?.category == .badData)
        }
    }

    @Test("missing objects and attributes of another type are named")
    func missing() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        try Self.writeSample(path)
        let file = try HDF5File.open(path)
        #expect(throws: HDF5Error.object(file: path, object: "/unet/x", fault: .missing)) {
            _ = try file.dataset("/unet/x")
        }
        #expect(throws: HDF5Error.object(file: path, object: "/unet/x", fault: .missing)) {
            _ = try file.text("a", of: "/unet/x")
        }
        #expect(
            throws: HDF5Error.attribute(
                file: path, object: "/", name: "shape", fault: .wrongType(expected: "one fixed-length string"))
        ) { _ = try file.text("shape") }
        #expect(
            throws: HDF5Error.attribute(
                file: path, object: "/", name: "config", fault: .wrongType(expected: "integers"))
        ) { _ = try file.integers("config") }
    }

    @Test("text with a zero byte is refused rather than cut")
    func zeroByte() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        let file = try HDF5File.create(path)
        #expect(
            throws: HDF5Error.attribute(
                file: path, object: "/", name: "t",
                fault: .value(expected: "text", found: "text with a zero byte"))
        ) { try file.setText("t", "a\0b") }
    }

    @Test("documents of any length come back", arguments: [0, 1, 300_000])
    func documents(_ count: Int) throws {
        let folder = try TemporaryFolder()
        let text = String(repeating: "é", count: count)
        do {
            let file = try HDF5File.create(folder.file("a.h5"))
            try file.setDocument("/header/config", text)
            try file.setText("short", String(text.prefix(1000)))
            try file.close()
        }
        let file = try HDF5File.open(folder.file("a.h5"))
        #expect(try file.document("/header/config") == text)
        #expect(try file.text("short") == String(text.prefix(1000)))
        #expect(try file.document("/header/none") == nil)
    }

    @Test("a failing file can be created nowhere")
    func cannotCreate() throws {
        let folder = try TemporaryFolder()
        let error = #expect(throws: FileError.self) { _ = try HDF5File.create(folder.file("x/a.h5")) }
        #expect(error?.category == .inputOutput)
    }

    @Test(
        "h5py reads our types, shapes and texts",
        .enabled(if: Python.has("h5py", "numpy"), "Python with h5py is not installed"))
    func readByPython() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        do {
            let file = try HDF5File.create(path)
            try file.setText("name", "été")
            try file.setDocument("/config", "{\"é\": 1}")
            try file.setIntegers("shape", [4, 3])
            let half = try file.createDataset("/unet/conv/weight", type: .float16, shape: [1, 3])
            try [UInt16]([0x3C00, 0x0001, 0xFBFF]).withUnsafeBytes { try half.write($0) }
            let brain = try file.createDataset("/unet/b", type: .bfloat16, shape: [1])
            try [UInt16]([0x3F80]).withUnsafeBytes { try brain.write($0) }
            _ = try file.createDataset("/n", type: .uint64, shape: [])
            try file.close()
        }
        let printed = try Python.run(
            """
            import sys, json, h5py
            with h5py.File(sys.argv[1]) as f:
                w, b = f["unet/conv/weight"], f["unet/b"]
                print(f.attrs["name"].decode(), json.loads(f["config"][()]), f.attrs["shape"].tolist(), w.dtype,
                      w[...].tolist(), b.dtype,
                      b.attrs["dtype"].decode(), f["n"].shape, f["n"].dtype)
            """, path)
        #expect(
            printed
                == "été {'é': 1} [4, 3] float16 [[1.0, 5.960464477539063e-08, -65504.0]] uint16 bfloat16 () uint64\n"
        )
    }

    @Test(
        "h5py's fixed-length text, float16 and compressed chunks are read; links and variable-length text are not",
        .enabled(if: Python.has("h5py", "numpy"), "Python with h5py is not installed"))
    func writtenByPython() throws {
        let folder = try TemporaryFolder()
        let path = folder.file("a.h5")
        try Python.run(
            """
            import sys, h5py, numpy as np
            with h5py.File(sys.argv[1], "w") as f:
                f.attrs["text"] = "été"
                f.attrs["fixed"] = np.bytes_("été".encode())
                f["document"] = np.bytes_(b"{}")
                f["variable"] = "{}"
                f["marked"] = np.zeros(1, np.uint16)
                f["marked"].attrs["dtype"] = "bfloat16"
                f.attrs["number"] = np.int32(-7)
                f["half"] = np.array([1, 2, 3], np.float16)
                f["big"] = np.array([1, 2], ">f4")
                f["double"] = np.zeros(2)
                f.create_dataset("packed", data=np.arange(12, dtype=np.float32).reshape(4, 3), compression="gzip",
                                 shuffle=True, chunks=(2, 3))
                f["group/soft"] = h5py.SoftLink("/half")
                f["list"] = np.array([b"x", b"y"], dtype="S1")
                f["void"] = h5py.Empty("f")
            """, path)
        let file = try HDF5File.open(path)
        #expect(try file.text("fixed") == "été")
        #expect(try file.document("/document") == "{}")
        for (object, name) in [("/", "text"), ("/marked", "dtype")] {
            #expect(
                throws: HDF5Error.attribute(
                    file: path, object: object, name: name, fault: .wrongType(expected: "one fixed-length string"))
            ) { _ = object == "/" ? try file.text(name) : try file.dataset(object).shape.description }
        }
        #expect(
            throws: HDF5Error.object(
                file: path, object: "/variable",
                fault: .value(expected: "one fixed-length string in UTF-8", found: "variable-length string"))
        ) { _ = try file.document("/variable") }
        #expect(try file.integers("number") == [-7])
        let half = try file.dataset("/half")
        var bits = [UInt16](repeating: 0, count: 3)
        try bits.withUnsafeMutableBytes { try half.read(into: $0) }
        #expect(bits == [0x3C00, 0x4000, 0x4200])
        let packed = try file.dataset("/packed")
        var values = [Float](repeating: 0, count: 6)
        try values.withUnsafeMutableBytes { try packed.read(rows: 1..<3, into: $0) }
        #expect(values == [3, 4, 5, 6, 7, 8])
        for (object, name) in [
            ("/double", "float64"), ("/big", "big-endian float32"), ("/list", "string"),
            ("/void", "null dataspace"),
        ] {
            #expect(throws: HDF5Error.object(file: path, object: object, fault: .unsupportedType(name))) {
                _ = try file.dataset(object)
            }
        }
        #expect(throws: HDF5Error.object(file: path, object: "/group/soft", fault: .notAHardLink)) {
            _ = try file.members(of: "/group")
        }
    }
}

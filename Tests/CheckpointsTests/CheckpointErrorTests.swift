// SPDX-License-Identifier: Apache-2.0
// The words of errors: one line that begins with the place and says what was expected and found.

import Files
import Foundation
import TestKit
import Testing

@testable import Checkpoints

@Suite struct CheckpointErrorTests {
    @Test(
        "each error is one line that names the file, the thing, what was expected and found, and what to do",
        arguments: [
            (
                CheckpointError.shapeMismatch(
                    file: "m.h5", key: "conv_in.weight", expected: [320, 4, 3, 3], found: [320, 9, 3, 3]),
                .badData,
                "m.h5: tensor conv_in.weight has shape [320, 9, 3, 3], the config wants [320, 4, 3, 3]"
            ),
            (
                .unusedKeys(file: "m.h5", keys: ["a", "b", "c", "d", "e", "f"]), .badData,
                "m.h5: 6 tensors that the config has no place for: a, b, c, d and 2 more; the weights do not belong "
                    + "to this config"
            ),
            (
                .notFinite(file: "m.h5", key: "a.weight", index: 3, count: 2), .badData,
                "m.h5: tensor a.weight holds 2 values that are NaN or infinite, the first at index 3; the weights are "
                    + "damaged or training diverged"
            ),
            (
                .hdf5(file: "m.h5", object: "/unet/a", operation: "read", cause: "H5FD_read: addr overflow"),
                .badData,
                "m.h5: HDF5 could not read /unet/a (H5FD_read: addr overflow); the file is damaged or incomplete"
            ),
            (
                .hdf5(file: "m.h5", object: "/unet/a", operation: "write", cause: "x"), .inputOutput,
                "m.h5: HDF5 could not write /unet/a (x)"
            ),
            (
                .safetensors(
                    file: "w.safetensors",
                    fault: .sizeMismatch(key: "a", dtype: "F16", shape: [2, 3], expected: 12, found: 10)),
                .badData,
                "w.safetensors: tensor a of type F16 and shape [2, 3]: expected 12 bytes, found 10"
            ),
            (
                .noWeights(folder: "sd", present: ["diffusion_pytorch_model.bin"]), .inputMissing,
                "sd: no diffusion_pytorch_model.safetensors (nor a sharded index); found diffusion_pytorch_model.bin, "
                    + "which must be converted to safetensors first"
            ),
        ] as [(CheckpointError, ErrorCategory, String)])
    func texts(_ error: CheckpointError, _ category: ErrorCategory, _ text: String) {
        #expect("\(error)" == text)
        #expect(error.category == category)
    }
}

@Suite struct HeapTextTests {
    /// A file with one text attribute, its bytes, and where its heap begins.
    private func sample(_ folder: TemporaryFolder) throws -> (bytes: [UInt8], heap: Int) {
        let file = try HDF5File.create(folder.file("a.h5"))
        try file.setText("config", "some text")
        try file.close()
        let bytes = try folder.bytes("a.h5")
        let tag = Array("GCOL".utf8)
        let heap = try #require((0..<bytes.count - 4).first { Array(bytes[$0..<$0 + 4]) == tag })
        return (bytes, heap)
    }

    @Test("texts are found without HDF5's unchecked heap")
    func found() throws {
        let folder = try TemporaryFolder()
        _ = try sample(folder)
        let map = try MappedFile(folder.file("a.h5"))
        // The root's header follows the superblock of 48 bytes.
        #expect(HeapText(map.bytes).attribute("config", headerAddress: 48) == .found(Array("some text".utf8)))
        #expect(HeapText(map.bytes).attribute("other", headerAddress: 48) == .elsewhere)
        #expect(HeapText(map.bytes).attribute("config", headerAddress: 1 << 40) == .elsewhere)
    }

    @Test(
        "a heap whose sizes lie is an error, where HDF5 itself would read outside of its memory",
        arguments: [
            (0, "text heap is lost"), (14, "text heap is lost"), (16, "text heap holds no such text"),
            (28, "text heap holds no such text"),
        ])
    func damaged(_ offset: Int, _ cause: String) throws {
        let folder = try TemporaryFolder()
        var (bytes, heap) = try sample(folder)
        bytes[heap + offset] = 0x7F
        let path = try folder.write("b.h5", bytes)
        #expect(
            throws: CheckpointError.hdf5(
                file: path, object: "/", operation: HDF5Operation.readAttribute, cause: cause)
        ) { _ = try HDF5File.open(path).text("config") }
    }
}

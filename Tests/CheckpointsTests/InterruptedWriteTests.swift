// SPDX-License-Identifier: Apache-2.0
// Writes that do not end well: a full disk, and processes killed in the middle. Each runs in a process of its own.

import CHDF5
import Files
import Foundation
import Tensors
import TestKit
import Testing

@testable import Checkpoints

/// Lets files of this process grow to `bytes` and no further, as a full disk would.
private func limitFileSize(_ bytes: Int) {
    signal(SIGXFSZ, SIG_IGN)
    var limit = rlimit(rlim_cur: rlim_t(bytes), rlim_max: rlim_t.max)
    #if os(Linux)
        setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
    #else
        setrlimit(RLIMIT_FSIZE, &limit)
    #endif
}

/// Writes a checkpoint of 20 layers of `count` floats each.
private func writeLayers(
    _ path: String, count: Int, value: Float = 1, betweenLayers: (Int) -> Void = { _ in }
) throws {
    let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.model))
    for index in 0..<20 {
        try writer.write("layers.\(index).weight", Tensor.full([count], value))
        betweenLayers(index)
    }
    try writer.finish()
}

@Suite struct InterruptedWriteTests {
    @Test(
        "on a full disk a checkpoint fails with the system's reason, the old file stays, and the process goes on",
        arguments: [700, 2000, 50_000, 3_000_000])
    func fullDisk(_ limit: Int) async throws {
        await #expect(processExitsWith: .success) { [limit = limit as Int] in
            let folder = try TemporaryFolder()
            let path = folder.file("model.h5")
            try SampleCheckpoint.writeModel(path)
            let old = try folder.bytes("model.h5")
            limitFileSize(limit)
            let error = #expect(throws: FileError.self) { try writeLayers(path, count: 100_000) }
            #expect(error == .writeFailed(path: path, code: EFBIG, hadFile: true))
            #expect(error?.category == .inputOutput)
            limitFileSize(Int.max)
            #expect(folder.names == ["model.h5"])
            #expect(try folder.bytes("model.h5") == old)
            try writeLayers(path, count: 10)
            #expect(try CheckpointReader(path).parameters.keys.count == 20)
        }
    }

    @Test("on a full disk a packed file fails with the system's reason wherever HDF5 writes its buffers")
    func fullDiskPacked() async throws {
        await #expect(processExitsWith: .success) {
            let folder = try TemporaryFolder()
            let path = folder.file("packed.h5")
            func write() throws {
                let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.packed))
                // Enough objects that HDF5 writes buffers before the end.
                for index in 0..<600 {
                    try writer.write(
                        SampleCheckpoint.packedLayer(
                            "blocks.\(index / 100).\(index % 100)", bits: 2, encoding: .radix, shape: [4, 7]))
                }
                try writer.finish()
            }
            try write()
            let size = try folder.bytes("packed.h5").count
            try FileManager.default.removeItem(atPath: path)
            for limit in stride(from: 500, to: size, by: size / 12) {
                limitFileSize(limit)
                #expect(throws: FileError.writeFailed(path: path, code: EFBIG, hadFile: false)) { try write() }
                limitFileSize(Int.max)
                #expect(folder.names.isEmpty)
            }
        }
    }

    @Test("a failed write is a write failure in every operation, since HDF5 writes buffers when it needs memory")
    func fullDiskInReading() async throws {
        await #expect(processExitsWith: .success) {
            let folder = try TemporaryFolder()
            let path = folder.file("a.h5")
            let file = try HDF5File.create(path)
            // More than the buffers hold.
            for index in 0..<5000 { try file.createGroup("/\(index / 100)/\(index % 100)") }
            let (id, location) = (file.handle.id, file.location("/0"))
            limitFileSize(10)
            #expect(throws: FileError.writeFailed(path: path, code: EFBIG, hadFile: true)) {
                try location.call(HDF5Operation.openObject) { H5Fflush(id, H5F_SCOPE_GLOBAL) }
            }
            // HDF5 gives up a file after a failed write.
            try? file.close()
        }
    }

    @Test("on a full disk safetensors and small files fail with the system's reason and leave nothing")
    func fullDiskElsewhere() async throws {
        await #expect(processExitsWith: .success) {
            let folder = try TemporaryFolder()
            limitFileSize(1000)
            let path = folder.file("a.safetensors")
            #expect(throws: FileError.writeFailed(path: path, code: EFBIG, hadFile: false)) {
                let tensors = ["a": StoredTensor(type: .float32, shape: [1000])]
                let writer = try SafetensorsWriter(path, tensors: tensors)
                try [Float](repeating: 0, count: 1000).withUnsafeBytes { try writer.write("a", $0) }
                try writer.finish()
            }
            #expect(throws: FileError.writeFailed(path: folder.file("b"), code: EFBIG, hadFile: false)) {
                try AtomicFile.write([UInt8](repeating: 0, count: 2000), to: folder.file("b"))
            }
            #expect(folder.names.isEmpty)
        }
    }

    @Test(
        "a process killed while it writes leaves the old file whole; the next write removes its remains",
        arguments: 0..<8)
    func killed(_ round: Int) async throws {
        let folder = try TemporaryFolder()
        let path = folder.file("model.h5")
        try writeLayers(path, count: 10, value: 7)
        let old = try folder.bytes("model.h5")
        await #expect(processExitsWith: .signal(SIGKILL)) { [path = path as String, round = round as Int] in
            try writeLayers(path, count: 1000 << round) { index in
                if index == round * 2 + 3 { kill(getpid(), SIGKILL) }
            }
        }
        #expect(try folder.bytes("model.h5") == old)
        #expect(folder.names.count == 2)
        try writeLayers(path, count: 10, value: 8)
        #expect(folder.names == ["model.h5"])
        #expect(
            try CheckpointReader(path).parameters.tensor("layers.0.weight").values
                == [Float](repeating: 8, count: 10))
    }
}

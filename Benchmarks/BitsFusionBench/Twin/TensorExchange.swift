// SPDX-License-Identifier: Apache-2.0
// Tensors exchanged with PyTorch as .safetensors files in a temporary folder.

import BitsFusion
import Foundation

/// The folder of the exchanged files; removed at the end of the run.
final class TensorExchange {
    let folder: String
    /// The name of the file with the inputs of one case.
    static let inputs = "inputs"
    private var interrupts: [any DispatchSourceSignal] = []

    /// A new folder below `parent`.
    ///
    /// - Throws: `BenchmarkError.unwritable`.
    init(below parent: String) throws(BenchmarkError) {
        folder = parent + "/bitsfusion-bench-\(ProcessInfo.processInfo.processIdentifier)"
        do {
            try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        } catch {
            throw .unwritable(path: folder)
        }
    }

    deinit { try? FileManager.default.removeItem(atPath: folder) }

    /// Removes the folder on SIGINT and SIGTERM, because its files can be gigabytes.
    func removeOnInterrupt() {
        for number in [SIGINT, SIGTERM] {
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [folder] in
                try? FileManager.default.removeItem(atPath: folder)
                exit(130)
            }
            source.resume()
            interrupts.append(source)
        }
    }

    /// A path in the folder.
    func path(_ name: String) -> String { "\(folder)/\(name).safetensors" }

    /// Writes `tensors` and returns the path.
    ///
    /// - Throws: `CheckpointError`.
    func write(_ tensors: [String: Tensor], as name: String) throws -> String {
        let path = path(name)
        let writer = try SafetensorsWriter(
            path, tensors: tensors.mapValues { StoredTensor(type: .float32, shape: $0.shape) })
        for (key, tensor) in tensors {
            try tensor.withUnsafeBufferPointer { try writer.write(key, UnsafeRawBufferPointer($0)) }
        }
        try writer.finish()
        return path
    }

    /// Writes shared tensors unless they exist already; they stay until the end of the run.
    ///
    /// - Returns: the path.
    /// - Throws: `CheckpointError`.
    func share(_ shared: SharedTensors) throws -> String {
        let name = "shared-" + shared.name
        return try FileManager.default.fileExists(atPath: path(name))
            ? path(name) : write(shared.tensors, as: name)
    }

    /// Removes the inputs of one case; shared tensors stay.
    func removeInputs() { remove(path(Self.inputs)) }

    /// Removes a file.
    func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}

/// Tensors that several cases have in common.
struct SharedTensors {
    /// Identifies the values: equal names mean equal values.
    let name: String
    let tensors: [String: Tensor]
}

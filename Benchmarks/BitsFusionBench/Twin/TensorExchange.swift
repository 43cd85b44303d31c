// SPDX-License-Identifier: Apache-2.0
// Tensors for and from PyTorch's side, as .safetensors files in a folder that ends with the run.

import BitsFusion
import Foundation

/// The folder of the files that both sides read and write.
final class TensorExchange {
    let folder: String
    /// The name of one case's own inputs.
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

    /// Has Ctrl-C and a request to end take the folder with them; its files can be gigabytes.
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

    /// Writes tensors that are not there yet, for this case and those to come; they stay until the end.
    ///
    /// - Returns: the path.
    /// - Throws: `CheckpointError`.
    func share(_ shared: SharedTensors) throws -> String {
        let name = "shared-" + shared.name
        return try FileManager.default.fileExists(atPath: path(name))
            ? path(name) : write(shared.tensors, as: name)
    }

    /// Removes one case's inputs; what is shared stays.
    func removeInputs() { remove(path(Self.inputs)) }

    /// Removes a file, so that large ones do not pile up.
    func remove(_ path: String) { try? FileManager.default.removeItem(atPath: path) }
}

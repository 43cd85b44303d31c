// SPDX-License-Identifier: Apache-2.0
// A few tensors as one safetensors file in float32.

import BitsFusion

enum SafetensorsFile {
    /// Writes `tensors` to `path`; the file appears when complete.
    ///
    /// - Throws: `CheckpointError.cannotCreate`, `.writeFailed`.
    static func write(_ tensors: [(name: String, value: Tensor)], to path: String) throws {
        let announced = tensors.map { ($0.name, StoredTensor(type: .float32, shape: $0.value.shape)) }
        let writer = try SafetensorsWriter(path, tensors: Dictionary(uniqueKeysWithValues: announced))
        for (name, value) in tensors {
            try value.withUnsafeBufferPointer { try writer.write(name, UnsafeRawBufferPointer($0)) }
        }
        try writer.finish()
    }
}

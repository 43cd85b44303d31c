// SPDX-License-Identifier: Apache-2.0

import Checkpoints
import Foundation
import Tensors

extension TemporaryFolder {
    /// Writes a safetensors file of float tensors, and returns its path.
    @discardableResult
    public func writeTensors(
        _ name: String, _ tensors: [String: Tensor], as type: StorageType = .float32
    ) throws -> String {
        try write(name, "")
        let writer = try SafetensorsWriter(
            file(name), tensors: tensors.mapValues { StoredTensor(type: type, shape: $0.shape) })
        for (key, tensor) in tensors {
            let bytes = try encode(tensor, as: type.elementType ?? .float32, key: key, file: name)
            try bytes.withUnsafeBytes { try writer.write(key, $0) }
        }
        try writer.finish()
        return file(name)
    }
}

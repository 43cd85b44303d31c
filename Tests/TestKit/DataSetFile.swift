// SPDX-License-Identifier: Apache-2.0
// HDF5 files with data sets below their root, as another program writes them for training.

import Checkpoints
import Tensors

/// Writes float32 data sets, and `integers` as int64.
public func writeDataSets(
    _ tensors: [String: Tensor], integers: [String: [[Int64]]] = [:], asBfloat16: Bool = false, to path: String
) throws {
    let file = try HDF5File.create(path)
    for (name, tensor) in tensors.sorted(by: { $0.key < $1.key }) {
        let dataset = try file.createDataset(
            "/" + name, type: asBfloat16 ? .bfloat16 : .float32, shape: tensor.shape)
        if asBfloat16 {
            try tensor.values.map { UInt16($0.bitPattern >> 16) }.withUnsafeBytes { try dataset.write($0) }
        } else {
            try tensor.values.withUnsafeBytes { try dataset.write($0) }
        }
    }
    for (name, rows) in integers.sorted(by: { $0.key < $1.key }) {
        let dataset = try file.createDataset(
            "/" + name, type: .int64, shape: [rows.count, rows.first?.count ?? 0])
        try rows.flatMap { $0 }.withUnsafeBytes { try dataset.write($0) }
    }
    try file.close()
}

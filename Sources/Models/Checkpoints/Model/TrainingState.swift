// SPDX-License-Identifier: Apache-2.0
// The state of an unfinished training run in a checkpoint.

import Foundation
import Tensors

/// The state of a training run: a JSON document of the trainer, and tensors by name.
public struct TrainingState {
    /// A named tensor of a state.
    public struct Entry {
        public let name: String
        /// The element type in the file, which represents all values exactly.
        public let type: ElementType
        private let make: () throws -> Tensor

        /// A tensor that `make` converts from `type` to Float32 only when it is written, so that no second copy is in
        /// memory.
        public init(_ name: String, as type: ElementType, make: @escaping () throws -> Tensor) {
            self.name = name
            self.type = type
            self.make = make
        }

        public init(_ name: String, _ value: Tensor) { self.init(name, as: .float32) { value } }

        /// The values in Float32.
        public var value: Tensor { get throws { try make() } }
    }

    public let json: Data
    /// Empty if the run is finished; the document remains as a record.
    public let tensors: [Entry]

    public init(json: Data, tensors: [Entry]) {
        self.json = json
        self.tensors = tensors
    }

    /// Writes the document and the tensors.
    ///
    /// - Throws: `CheckpointError`, `HDF5Error`, `FileError.writeFailed`.
    public func write(with writer: CheckpointWriter) throws {
        for entry in tensors { try writer.write(entry.name, in: .training, try entry.value, as: entry.type) }
        try writer.writeTrainingState(json: String(decoding: json, as: UTF8.self))
    }
}

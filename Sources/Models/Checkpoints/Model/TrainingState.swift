// SPDX-License-Identifier: Apache-2.0
// The state of an unfinished training run, as a checkpoint stores it.

import Foundation
import Tensors

/// The state of a training run: a JSON document of the trainer, and tensors by name.
public struct TrainingState {
    /// A named tensor of a state.
    public struct Entry {
        public let name: String
        /// The element type in the file; it represents every value exactly.
        public let type: ElementType
        private let make: () -> Tensor

        /// A tensor that is widened from `type` only when it is written, so that a state needs no second copy.
        public init(_ name: String, as type: ElementType, make: @escaping () -> Tensor) {
            self.name = name
            self.type = type
            self.make = make
        }

        public init(_ name: String, _ value: Tensor) { self.init(name, as: .float32) { value } }

        /// The values in Float32.
        public var value: Tensor { make() }
    }

    public let json: Data
    /// Empty if the run is finished: only its record is kept.
    public let tensors: [Entry]

    public init(json: Data, tensors: [Entry]) {
        self.json = json
        self.tensors = tensors
    }

    /// - Throws: `CheckpointError`.
    public func write(with writer: CheckpointWriter) throws {
        for entry in tensors { try writer.write(entry.name, in: .training, entry.value, as: entry.type) }
        try writer.writeTrainingState(json: String(decoding: json, as: UTF8.self))
    }
}

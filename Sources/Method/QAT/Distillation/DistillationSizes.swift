// SPDX-License-Identifier: Apache-2.0
// The memory of a distillation run and the size of its file, computed from the numbers of its parameters.

import Layers
import Pipelines
import Quantization
import Tensors

/// The parts of memory that last for the whole run, in bytes. Activations come on top.
public struct DistillationMemory: Hashable, Sendable {
    /// All components of the student, with scales.
    public let student: Int
    public let gradients: Int
    /// Both moments of the optimizer.
    public let moments: Int
    /// The moving average of the weights; 0 without one.
    public let average: Int
    /// The denoiser of the teacher; 0 without one.
    public let teacher: Int

    public var total: Int { student + gradients + moments + average + teacher }
}

extension DistillationTrainer {
    /// The memory of weights, gradients and moments.
    public var memory: DistillationMemory {
        let trained = trainedElements, float = 4
        return DistillationMemory(
            student: model.parameterBytes, gradients: trained * float,
            moments: 2 * trained * loop.optimizer.momentType.bytesPerElement,
            average: loop.average == nil ? 0 : trained * float, teacher: objective.teacher?.store.bytes ?? 0)
    }

    /// The bytes of the tensors in the student's file: parameters and scales, and the state that resumes the run.
    public var fileBytes: Int {
        let ofState = 4 + 2 * loop.optimizer.momentType.bytesPerElement + (loop.average == nil ? 0 : 4)
        return model.parameterBytes + trainedElements * ofState
    }

    private var trainedElements: Int {
        loop.optimizer.groups.reduce(0) { sum, group in sum + group.parameters.reduce(0) { $0 + $1.value.count } }
    }
}

extension DiffusionPipeline {
    /// The bytes of all parameters as they are in memory, scales included.
    fileprivate var parameterBytes: Int {
        components.reduce(0) { $0 + $1.store.bytes }
    }
}

extension ParameterStore {
    fileprivate var bytes: Int { entries.reduce(0) { $0 + $1.source.bytes } }
}

extension WeightSource {
    /// 16-bit weights, or Float32.
    fileprivate var bytes: Int {
        if let half = self as? Weight16 { return half.shape.reduce(1, *) * half.type.bytesPerElement }
        return 4 * parameters.reduce(0) { $0 + $1.value.count }
    }
}

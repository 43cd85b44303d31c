// SPDX-License-Identifier: Apache-2.0
// The parts of a step's batch: their samples, their random numbers, and the processes that compute them.

import Tensors

/// A part of one step's batch, computed at once.
public struct MicroBatch: Sendable {
    /// The step, from 0.
    public let step: Int
    /// Indices of the samples in the run; those of a step start at step · batch size.
    public let samples: Range<Int>

    public var count: Int { samples.count }
}

/// How the batch of every step is divided. The division depends on the settings of the run, not on the number of
/// processes.
struct MicroBatches: Sendable {
    let batchSize: Int
    /// Samples of a micro-batch; the last one may have fewer.
    let size: Int

    init(_ options: TrainingOptions) {
        (batchSize, size) = (options.batchSize, options.samplesAtOnce)
    }

    /// Micro-batches of a step.
    var count: Int { (batchSize + size - 1) / size }

    func batch(_ index: Int, ofStep step: Int) -> MicroBatch {
        let first = step * batchSize + index * size
        return MicroBatch(step: step, samples: first..<min(first + size, (step + 1) * batchSize))
    }

    /// The share of a micro-batch in the samples of its step.
    func share(_ index: Int) -> Float {
        Float(batch(index, ofStep: 0).count) / Float(batchSize)
    }

    /// The random numbers of a micro-batch: a part of the stream of its step, which no other micro-batch reaches.
    static func random(_ index: Int, ofStep step: Int, seed: UInt64) -> Philox {
        Philox(seed: seed, stream: UInt64(step), position: UInt64(index) << 40)
    }

    /// The micro-batches that one of `processes` processes computes.
    func indices(of rank: Int, processes: Int) -> StrideTo<Int> { stride(from: rank, to: count, by: processes) }
}

// SPDX-License-Identifier: Apache-2.0
// Validation of a training run: the loss on held-out samples with the same timesteps and the same noise each time, so
// that values of different steps can be compared. Its random numbers are no function of the steps done.

import Schedulers
import Tensors

/// The mean loss over the held-out samples.
public struct ValidationLoss: Hashable, Sendable {
    /// In the units of the training loss.
    public let loss: Float
    /// Named parts of the loss.
    public let parts: [String: Float]
}

/// The number of held-out samples where none is given: 32, or a twentieth of a small set, at least 1.
///
/// - Parameter sampleCount: the number of samples of the set; nil for samples that are generated without end.
/// - Returns: the number of samples to hold out.
public func defaultValidationSize(sampleCount: Int?) -> Int {
    min(32, max((sampleCount ?? .max) / 20, 1))
}

/// The random numbers of K held-out samples: functions of seed and sample alone, not of the batch size.
package struct ValidationDraws: Sendable {
    /// K timesteps, stratified over their distribution, in random order.
    package let timesteps: [Int]
    private let seed: UInt64

    // Separate from the streams of training steps, which are small numbers.
    private static let timestepStream = fnv1a("validation timesteps")
    private static let noiseStream = fnv1a("validation noise")
    private static let droppingStream = fnv1a("validation text dropping")

    package init(_ count: Int, from distribution: TimestepDistribution, trainTimesteps: Int, seed: UInt64) {
        var random = Philox(seed: seed, stream: Self.timestepStream)
        var timesteps = distribution.stratified(count, trainTimesteps: trainTimesteps, using: &random)
        // Samples may be stored in an order, such as that of their subjects.
        for last in stride(from: count - 1, to: 0, by: -1) {
            timesteps.swapAt(last, random.nextInt(below: last + 1))
        }
        self.timesteps = timesteps
        self.seed = seed
    }

    /// Standard normal noise `[B, ...]` of samples `first ..< first + B`.
    package func noise(_ shape: [Int], from first: Int) -> Tensor {
        let size = shape.dropFirst().reduce(1, *)
        var random = Philox(seed: seed, stream: Self.noiseStream, position: UInt64(first * size))
        return random.normal(shape)
    }

    /// Decides which captions are dropped, from sample `first` on.
    package func textDropping(from first: Int) -> Philox {
        Philox(seed: seed, stream: Self.droppingStream, position: UInt64(first))
    }

    /// The mean of `loss` over all samples, off the tape.
    ///
    /// - Parameters:
    ///   - batchSize: samples computed at once; changes the result by rounding only.
    ///   - limit: the number of samples, nil for all.
    ///   - shouldStop: called before each batch.
    ///   - loss: the mean loss over a range of samples.
    /// - Returns: nil when stopped.
    package func mean(
        batchSize: Int, limit: Int? = nil, shouldStop: () -> Bool, loss: (Range<Int>) throws -> StepLoss
    ) rethrows -> ValidationLoss? {
        let count = min(limit ?? timesteps.count, timesteps.count)
        var (sum, parts) = (0.0, [String: Double]())
        for first in stride(from: 0, to: count, by: batchSize) {
            if shouldStop() { return nil }
            let samples = first..<min(first + batchSize, count)
            let found = try withoutGradients { try loss(samples) }
            sum += Double(samples.count) * Double(found.total.item)
            for (name, part) in found.parts { parts[name, default: 0] += Double(samples.count) * Double(part) }
        }
        return ValidationLoss(
            loss: Float(sum / Double(count)), parts: parts.mapValues { Float($0 / Double(count)) })
    }
}

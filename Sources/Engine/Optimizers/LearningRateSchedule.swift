// SPDX-License-Identifier: Apache-2.0
// The learning rate as a function of the step, as a factor of its peak.

import Foundation

/// Linear warm-up, then constant or cosine decay.
public struct LearningRateSchedule: Codable, Hashable, Sendable {
    public enum Decay: String, Codable, Sendable, CaseIterable {
        case constant, cosine
    }

    public var warmupSteps: Int
    public var decay: Decay
    /// The final learning rate of the cosine decay, as a share of the peak, 0...1.
    public var finalFactor: Float
    /// Steps after which the cosine decay ends, for a run that ends earlier; nil: the steps of the run.
    public var horizon: Int?

    public init(warmupSteps: Int = 20, decay: Decay = .cosine, finalFactor: Float = 0.05, horizon: Int? = nil) {
        self.warmupSteps = warmupSteps
        self.decay = decay
        self.finalFactor = finalFactor
        self.horizon = horizon
    }

    /// The factor at `step` (from 0) of a run of `steps`.
    public func factor(step: Int, of steps: Int) -> Float {
        if step < warmupSteps { return Float(step + 1) / Float(warmupSteps + 1) }
        let steps = horizon ?? steps
        guard decay == .cosine, steps > warmupSteps else { return 1 }
        let progress = Float(step - warmupSteps) / Float(max(steps - warmupSteps, 1))
        return finalFactor + (1 - finalFactor) * 0.5 * (1 + cos(.pi * min(progress, 1)))
    }
}

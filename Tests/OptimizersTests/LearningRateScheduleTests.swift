// SPDX-License-Identifier: Apache-2.0
// Learning rates over a run, against values computed by hand.

import Foundation
import QAT
import TestKit
import Testing

@testable import Optimizers

@Suite struct LearningRateScheduleTests {
    @Test("the warm-up is linear and never zero")
    func warmup() {
        let schedule = LearningRateSchedule(warmupSteps: 4, decay: .constant, finalFactor: 1)
        let factors = (0..<8).map { schedule.factor(step: $0, of: 8) }
        expectClose(factors, [0.2, 0.4, 0.6, 0.8, 1, 1, 1, 1], .roundings(2))
    }

    @Test("the cosine decays from 1 through the mean to its final factor")
    func cosine() {
        let schedule = LearningRateSchedule(warmupSteps: 10, decay: .cosine, finalFactor: 0.2)
        func factor(_ step: Int) -> Float { schedule.factor(step: step, of: 110) }
        expectClose([factor(10), factor(60)], [1, 0.6], .roundings(8))
        expectClose([factor(35)], [Float(0.2 + 0.8 * (1 + 0.5.squareRoot()) / 2)], .roundings(8))
        let factors = (10...110).map(factor)
        for (earlier, later) in zip(factors, factors.dropFirst()) { #expect(later <= earlier) }
        #expect(factor(109) > 0.2)
        expectClose([factor(110), factor(500)], [0.2, 0.2], .roundings(8))
    }

    @Test("the paper's learning rate is constant, 1e-5")
    func paper() {
        for stage in DistillationStage.allCases {
            let training = DistillationOptions.paper[stage].training
            #expect(training.learningRate == 1e-5)
            for step in [0, 1, 1000, training.steps - 1] {
                #expect(training.schedule.factor(step: step, of: training.steps) == 1)
            }
        }
    }

    @Test("a run that is shorter than its warm-up is valid")
    func short() {
        let schedule = LearningRateSchedule(warmupSteps: 5)
        for step in 0..<5 {
            let factor = schedule.factor(step: step, of: 3)
            #expect(factor > 0 && factor <= 1)
        }
        #expect(LearningRateSchedule(warmupSteps: 0).factor(step: 0, of: 1) == 1)
    }
}

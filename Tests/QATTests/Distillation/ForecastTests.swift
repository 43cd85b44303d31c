// SPDX-License-Identifier: Apache-2.0
// The forecast of a run: measured times and computed sizes.

import Foundation
import Tensors
import TestKit
import Testing

@testable import QAT

@Suite struct ForecastTests {
    private func options(_ type: ElementType = .float32, averageDecay: Float? = nil) -> StageOptions {
        var options = TinyDistillation.options(averageDecay: averageDecay)
        options.training.batchSize = 10
        options.training.microBatchSize = 4
        options.training.momentDtype = type
        return options
    }

    @Test("a step is the sum of its micro-batches and the update", arguments: DistillationStage.allCases)
    func times(stage: DistillationStage) throws {
        let trainer = try TinyDistillation.trainer(stage, options())
        let forecast = try #require(try trainer.forecast(microBatches: 2))
        #expect(forecast.microBatchSeconds.count == 2 && forecast.microBatchSeconds.allSatisfy { $0 > 0 })
        #expect(forecast.updateSeconds > 0 && forecast.microBatches == 2.5)
        let sum = forecast.microBatchSeconds[0] + forecast.microBatchSeconds[1]
        #expect(abs(forecast.stepSeconds - (2.5 * sum / 2 + forecast.updateSeconds)) < 1e-9)
        #expect(trainer.loop.step == 0)
        #expect(try trainer.forecast(shouldStop: { true }) == nil)
    }

    @Test("memory counts weights, gradients, moments, average and teacher")
    func memory() throws {
        let student = try TinyDistillation.student()
        let trainer = try TinyDistillation.trainer(.one, options(.bfloat16, averageDecay: 0.9), student: student)
        let trained = student.denoiser.store.parameters.filter(\.isTrainable).reduce(0) { $0 + $1.value.count }
        let all = student.components.reduce(0) { sum, component in
            sum + component.store.parameters.reduce(0) { $0 + $1.value.count }
        }
        let memory = trainer.memory
        #expect(memory.student == 4 * all && memory.gradients == 4 * trained)
        #expect(memory.moments == 4 * trained && memory.average == 4 * trained)
        #expect(memory.teacher == 4 * (try TinyDistillation.teacher().denoiser.store.elementCount))
        #expect(memory.total == 4 * (all + 3 * trained) + memory.teacher)
        let second = try TinyDistillation.trainer(.two, options())
        #expect(second.memory.teacher == 0 && second.memory.average == 0)
        var half = options()
        half.teacherDtype = .bfloat16
        #expect(try TinyDistillation.trainer(.one, half).memory.teacher < memory.teacher)
    }

    @Test("the size of the file is that of its tensors", .slow, arguments: [ElementType.float32, .bfloat16])
    func fileSize(type: ElementType) throws {
        let folder = try TemporaryFolder()
        func size(_ options: StageOptions) throws -> (forecast: Int, actual: Int) {
            let trainer = try TinyDistillation.trainer(.two, options)
            try TinyDistillation.run(trainer, until: 1)
            try trainer.write(to: folder.file("s.h5"), manifest: TinyModel.manifest)
            return (trainer.fileBytes, try folder.data("s.h5").count)
        }
        let (plain, averaged) = (try size(options(type)), try size(options(type, averageDecay: 0.5)))
        #expect(plain.forecast < plain.actual && averaged.forecast < averaged.actual)
        // The rest are names, shapes and the document. An average adds a tensor for each trained one.
        let added = (averaged.forecast - plain.forecast, averaged.actual - plain.actual)
        let tensors = try TinyDistillation.student().denoiser.prepareForDistillation()
        let count = tensors.weights.count + tensors.scales.count
        #expect((0...1024 * count).contains(added.1 - added.0), "\(added)")
    }
}

// SPDX-License-Identifier: Apache-2.0
// Callers' bugs end the process instead of giving numbers.

import Foundation
import Layers
import Schedulers
import Tensors
import TestKit
import Testing

@testable import Networks

/// A failed precondition ends the process with a signal; an error thrown by the test's own set-up would not.
#if arch(x86_64)
    private let trap = ExitTest.Condition.signal(SIGILL)
#else
    private let trap = ExitTest.Condition.signal(SIGTRAP)
#endif

@Suite struct TrapTests {
    @Test("a sample with the wrong number of channels traps")
    func wrongChannels() async {
        await #expect(processExitsWith: trap) {
            let model = try (fixture("unet-sd1", in: .module) as UNetFixture).model()
            _ = model(.zeros([1, 3, 8, 8]), timesteps: .zeros([1]), encoderHiddenStates: .zeros([1, 2, 12]))
        }
    }

    @Test("a model with cross-attention traps without a context")
    func noContext() async {
        await #expect(processExitsWith: trap) {
            let model = try (fixture("unet-sd1", in: .module) as UNetFixture).model()
            _ = model(.zeros([1, 4, 8, 8]), timesteps: .zeros([1]))
        }
    }

    @Test("a weight of another shape cannot take a layer's place")
    func wrongWeight() async {
        await #expect(processExitsWith: trap) {
            let store = ParameterStore(provider: RandomParameterProvider(seed: 0))
            let layer = try Linear(ParameterPath(store) / "a", in: 2, out: 3)
            layer.weight = Parameter("a.weight", .zeros([2, 3]))
        }
    }

    @Test("a key cannot be registered twice")
    func twice() async {
        await #expect(processExitsWith: trap) {
            let store = ParameterStore(provider: RandomParameterProvider(seed: 0))
            _ = try LayerNorm(ParameterPath(store) / "norm", channels: 2)
            _ = try LayerNorm(ParameterPath(store) / "norm", channels: 2)
        }
    }

    @Test("a sampler traps when it is asked for more steps than it has")
    func tooManySteps() async {
        await #expect(processExitsWith: trap) {
            var sampler = try DDIMSampler(steps: 1)
            let sample = Tensor.zeros([1, 1, 1, 1])
            for _ in 0..<2 { _ = sampler.step(sample, sample: sample, noise: Tensor.zeros) }
        }
    }

    @Test("a timestep that is not cached traps inside a prediction")
    func uncached() async {
        await #expect(processExitsWith: trap) {
            let table = TimeFeatureTable(timesteps: [1], features: ["a": .zeros([1, 2])])
            _ = table.feature(resnetPath: "a", timesteps: Tensor([2], shape: [1]))
        }
    }
}

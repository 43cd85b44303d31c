// SPDX-License-Identifier: Apache-2.0
// A checkpointed UNet computes what a plain one does, bit by bit, and holds less while it does.

import Tensors
import TestKit
import Testing

@testable import Networks

@Suite struct GradientCheckpointingTests {
    /// The bits of prediction and loss, and of every gradient, of a loss on the prediction and all block features.
    private func bits(_ fixture: UNetFixture, _ checkpointing: GradientCheckpointing) throws -> [String:
        [UInt32]]
    {
        let model = try fixture.model()
        model.checkpointing = checkpointing
        let condition = fixture.encoderHiddenStates.map { Parameter("condition", $0) }
        let features = BlockFeatures()
        let prediction = model(
            fixture.sample, timesteps: fixture.times, encoderHiddenStates: condition?.tensor(),
            addedConditions: fixture.added, features: features)
        let loss = (features.compared + features.outputs(of: .mid))
            .reduce((prediction * fixtureUnit("loss", prediction.shape)).sum()) { $0 + $1.square().mean() }
        loss.backward()
        var result = ["prediction": prediction, "loss": loss].mapValues { $0.values.map(\.bitPattern) }
        for parameter in model.store.parameters + [condition].compactMap({ $0 }) {
            result[parameter.name] = parameter.gradient?.values.map(\.bitPattern) ?? []
        }
        return result
    }

    @Test("prediction, loss and every gradient are bit-equal", arguments: UNetFixture.names)
    func bitEqual(name: String) throws {
        let fixture: UNetFixture = try fixture("unet-\(name)", in: .module)
        let (plain, lean) = (try bits(fixture, .none), try bits(fixture, .blocks))
        #expect(plain.keys == lean.keys)
        for (key, bits) in plain { #expect(bits == lean[key], "\(name): \(key)") }
        #expect(plain.values.allSatisfy { !$0.isEmpty })
    }

    @Test("a checkpointed pass keeps less than half")
    func memory() async {
        await #expect(processExitsWith: .success) {
            let fixture: UNetFixture = try fixture("unet-sd1", in: .module)
            let model = try fixture.model()
            func held(_ checkpointing: GradientCheckpointing) -> Int {
                model.checkpointing = checkpointing
                let before = BlockPool.shared.liveBytes
                let prediction = model(
                    fixture.sample, timesteps: fixture.times, encoderHiddenStates: fixture.encoderHiddenStates
                )
                let held = BlockPool.shared.liveBytes - before
                return prediction.requiresGradient ? held : 0
            }
            _ = held(.none)
            let (plain, lean) = (held(.none), held(.blocks))
            precondition(lean > 0 && lean < plain / 2, "\(lean) of \(plain) bytes")
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// 16-bit weights that several processes of a machine hold once. Threads of the test stand for processes.

import Communication
import Layers
import Pipelines
import Tensors
import TestKit
import Testing

@Suite struct SharedWeightsTests {
    @Test("processes of one machine compute with the weights of the first, bit for bit")
    func sharing() throws {
        let expected = try TinyModel.pipeline().denoiser
        expected.store.holdWeights(as: .bfloat16)
        let results = try ThreadCommunicator.run(3) { communicator in
            let denoiser = try TinyModel.pipeline().denoiser
            denoiser.store.holdWeights(as: .bfloat16)
            let isShared = try denoiser.store.shareWeights(between: communicator)
            let weights = denoiser.store.weightedLayers.map { $0.weight.tensor().values }
            let halves = denoiser.store.weightedLayers.compactMap { layer in
                (layer.weight as? Weight16)?.withUnsafeBits { Array($0.prefix(2)) }
            }
            return (isShared, weights, halves.count)
        }
        let weights = expected.store.weightedLayers.map { $0.weight.tensor().values }
        for (isShared, found, count) in results {
            #expect(isShared && found == weights && count == weights.count)
        }
    }

    @Test("one process, and weights in Float32, keep their memory")
    func alone() throws {
        let denoiser = try TinyModel.pipeline().denoiser
        #expect(try !denoiser.store.shareWeights(between: SingleProcess()))
        let results = try ThreadCommunicator.run(2) { communicator in
            try TinyModel.pipeline().denoiser.store.shareWeights(between: communicator)
        }
        #expect(results == [false, false])
    }
}

// SPDX-License-Identifier: Apache-2.0
// Distillation sets in HDF5 files, one of them as h5py writes it: Tests/Fixtures/make_data_set_fixture.py.

import Checkpoints
import Foundation
import QAT
import Tensors
import TestKit
import Testing

@testable import DataSets

@Suite struct StoredDataFileTests {
    @Test("a set is read without the captions that lie beside it")
    func captions() throws {
        let file = Bundle.module.bundleURL.appendingPathComponent("Fixtures/captioned-set.h5").path
        let set = try StoredDistillationData(contentsOf: file, for: TinyModel.config())
        #expect(set.latents.shape == [2, 3, 8, 8])
        #expect(set.encoderHiddenStates.shape == [2, 5, 12])
        #expect(set.emptyHiddenStates.shape == [1, 5, 12])
        #expect(set.latents.values == (0..<384).map(Float.init))
    }

    @Test("a set of other channels than the model's is refused")
    func channels() throws {
        let file = Bundle.module.bundleURL.appendingPathComponent("Fixtures/captioned-set.h5").path
        let config = try TinyModel.config(channels: 4)
        let error = #expect(throws: CheckpointError.self) {
            try StoredDistillationData(contentsOf: file, for: config)
        }
        #expect(
            error
                == .shapeMismatch(file: file, key: "latents", expected: [2, 4, 8, 8], found: [2, 3, 8, 8]))
    }
}

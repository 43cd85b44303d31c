// SPDX-License-Identifier: Apache-2.0
// Distillation sets in HDF5 files. The fixture is written by h5py: Tests/Fixtures/make_data_set_fixture.py.

import Checkpoints
import Foundation
import QAT
import Tensors
import TestKit
import Testing

@testable import DataSets

@Suite struct StoredDataFileTests {
    @Test("other datasets of the file, such as captions, are ignored")
    func captions() throws {
        let file = Bundle.module.bundleURL.appendingPathComponent("Fixtures/captioned-set.h5").path
        let set = try StoredDistillationData(contentsOf: file, for: TinyModel.config())
        #expect(set.latents.shape == [2, 3, 8, 8])
        #expect(set.encoderHiddenStates.shape == [2, 5, 12])
        #expect(set.emptyHiddenStates.shape == [1, 5, 12])
        #expect(set.latents.values == (0..<384).map(Float.init))
    }

    @Test("a set with another number of channels than the model is refused")
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

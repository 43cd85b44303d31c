// SPDX-License-Identifier: Apache-2.0
// Inputs from files are checked before they can trap.

import Foundation
import TestKit
import Testing

@testable import Networks

@Suite struct UNetInputTests {
    private let plain: UNet2DConditionConfig
    private let xl: UNet2DConditionConfig

    init() throws {
        plain = try (fixture("unet-sd1", in: .module) as UNetFixture).config
        xl = try (fixture("unet-sdxl", in: .module) as UNetFixture).config
    }

    @Test("inputs that fit pass, with a timestep per sample or one for all")
    func fitting() throws {
        try plain.validate(sample: [2, 4, 7, 9], timestep: [2], encoderHiddenStates: [2, 77, 12])
        try plain.validate(sample: [2, 4, 1, 1], timestep: [1], encoderHiddenStates: [2, 1, 12])
        try xl.validate(
            sample: [1, 4, 8, 8], timestep: [1], encoderHiddenStates: [1, 5, 12], textEmbeds: [1, 10],
            timeIDs: [1, 6])
        let unconditional = try (fixture("unet-unconditional", in: .module) as UNetFixture).config
        try unconditional.validate(sample: [1, 5, 4, 4], timestep: [1], encoderHiddenStates: nil)
        #expect(throws: DenoiserInputError.tooSmall(found: [1, 5, 8, 3], halvings: 2)) {
            try unconditional.validate(sample: [1, 5, 8, 3], timestep: [1], encoderHiddenStates: nil)
        }
    }

    @Test("each input that does not fit is named, with what was expected and found")
    func unfitting() {
        #expect(throws: DenoiserInputError.shape(name: "sample", expected: "[B, 4, H, W]", found: [2, 3, 8, 8])) {
            try plain.validate(sample: [2, 3, 8, 8], timestep: [2], encoderHiddenStates: [2, 7, 12])
        }
        #expect(throws: DenoiserInputError.shape(name: "timestep", expected: "[2]", found: [3])) {
            try plain.validate(sample: [2, 4, 8, 8], timestep: [3], encoderHiddenStates: [2, 7, 12])
        }
        #expect(
            throws: DenoiserInputError.shape(
                name: "encoder_hidden_states", expected: "[2, T, 12]", found: [2, 7, 13])
        ) { try plain.validate(sample: [2, 4, 8, 8], timestep: [2], encoderHiddenStates: [2, 7, 13]) }
        #expect(
            throws: DenoiserInputError.missing(
                name: "encoder_hidden_states", neededBy: "the model's cross-attention")
        ) { try plain.validate(sample: [2, 4, 8, 8], timestep: [2], encoderHiddenStates: nil) }
        #expect(throws: DenoiserInputError.unexpected(name: "text_embeds")) {
            try plain.validate(
                sample: [2, 4, 8, 8], timestep: [2], encoderHiddenStates: [2, 7, 12], textEmbeds: [2, 10],
                timeIDs: nil)
        }
        #expect(throws: DenoiserInputError.shape(name: "text_embeds", expected: "[1, 10]", found: [1, 9])) {
            try xl.validate(
                sample: [1, 4, 8, 8], timestep: [1], encoderHiddenStates: [1, 5, 12], textEmbeds: [1, 9],
                timeIDs: [1, 6])
        }
        #expect(
            throws: DenoiserInputError.missing(name: "time_ids", neededBy: "addition_embed_type \"text_time\"")
        ) {
            try xl.validate(
                sample: [1, 4, 8, 8], timestep: [1], encoderHiddenStates: [1, 5, 12], textEmbeds: [1, 10],
                timeIDs: nil)
        }
    }
}

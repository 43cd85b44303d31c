// SPDX-License-Identifier: Apache-2.0
// The units of the measures, and that NaN never becomes one.

import Recipes
import Tensors
import Testing

@testable import Analyzer

@Suite struct ImageSensitivityTests {
    private let reference = Tensor((0..<24).map { Float($0) / 12 - 1 }, shape: [2, 3, 2, 2])

    @Test("the reference against itself has error and distance 0, no PSNR and no CLIP drop") func identical()
        throws
    {
        let big = Tensor((0..<2 * 3 * 64).map { Float($0 % 17) / 8 - 1 }, shape: [2, 3, 8, 8])
        let score = try CaptionScore(tinyClip(), prompts: ["a red circle", "a square"])
        let measure = try ImageSensitivity(reference: big, isLatent: false, captionScore: score).measure(big)
        #expect(measure == SensitivityScores(mse: 0, perceptual: 0, clipDrop: 0))
    }

    @Test("pixels are compared in [0, 1]: half a range everywhere is an error of 1/4 and 6 dB") func pixels()
        throws
    {
        let black = Tensor.full([2, 3, 2, 2], -1)
        let comparison = try ImageSensitivity(reference: black, isLatent: false, captionScore: nil)
        let measure = try #require(try comparison.measure(.zeros([2, 3, 2, 2])))
        #expect(measure.mse == 0.25 && measure.clipDrop == nil && measure.perceptual == nil)
        #expect(abs((measure.psnr ?? 0) - 6.0206) < 1e-4)
    }

    @Test("pixels outside [-1, 1] count as the nearest that an image can hold") func clamping() throws {
        let comparison = try ImageSensitivity(reference: .full([1, 3, 2, 2], 5), isLatent: false, captionScore: nil)
        #expect(try comparison.measure(.full([1, 3, 2, 2], 1))?.mse == 0)
        #expect(try comparison.measure(.full([1, 3, 2, 2], -40))?.mse == 1)
    }

    @Test("latents are compared in units of the reference's range, and not clamped") func latents() throws {
        let latents = Tensor([-4, 0, 4, 4], shape: [1, 4, 1, 1])
        let comparison = try ImageSensitivity(reference: latents, isLatent: true, captionScore: nil)
        let measure = try #require(try comparison.measure(Tensor([-4, 0, 4, 12], shape: [1, 4, 1, 1])))
        #expect(measure.mse == 0.25)
        #expect(
            try ImageSensitivity(reference: latents * 10, isLatent: true, captionScore: nil).measure(latents * 10)?.mse
                == 0)
    }

    @Test("images with NaN or infinity have no measure", arguments: [Float.nan, .infinity, -.infinity])
    func notFinite(value: Float) throws {
        let comparison = try ImageSensitivity(reference: reference, isLatent: false, captionScore: nil)
        var values = reference.values
        values[7] = value
        let broken = Tensor(values, shape: reference.shape)
        #expect(try comparison.measure(broken) == nil)
        #expect(throws: SensitivityError.referenceNotFinite) {
            try ImageSensitivity(reference: broken, isLatent: false, captionScore: nil)
        }
    }

    @Test("latents so far off that their squares overflow have no measure") func overflow() throws {
        let latents = Tensor([0, 1e-30, 0, 0], shape: [1, 4, 1, 1])
        let comparison = try ImageSensitivity(reference: latents, isLatent: true, captionScore: nil)
        #expect(try comparison.measure(.full([1, 4, 1, 1], 3e38)).map { $0.mse?.isFinite == true } ?? true)
    }

    @Test("the perceptual distance is the encoder's mean over clamped images, and grows with noise")
    func perceptual() throws {
        let clip = try tinyClip()
        var random = Philox(seed: 3)
        let images = random.normal([2, 3, 8, 8]) * 0.3
        let noise = random.normal([2, 3, 8, 8])
        let comparison = try ImageSensitivity(
            reference: images, isLatent: false, captionScore: CaptionScore(clip, prompts: ["a red circle", "a square"]))
        let found = try [0.05, 0.2, 0.8].map { (deviation: Float) in
            try #require(try comparison.measure(images + noise * deviation)?.perceptual)
        }
        #expect(found[0] > 0 && found[0] < found[1] && found[1] < found[2])
        func clamped(_ tensor: Tensor) -> Tensor {
            Tensor(tensor.values.map { min(max($0, -1), 1) }, shape: tensor.shape)
        }
        let expected = clip.perceptualReference(clamped(images)).distances(clamped(images + noise * 0.8))
        #expect(abs(found[2] - (expected[0] + expected[1]) / 2) < 1e-12)
    }

    @Test("a CLIP-proxy on latents is refused") func clipOnLatents() throws {
        let score = try CaptionScore(tinyClip(), prompts: ["a circle"])
        #expect(throws: SensitivityError.clipNeedsImages(channels: 4)) {
            try ImageSensitivity(reference: .zeros([1, 4, 8, 8]), isLatent: false, captionScore: score)
        }
    }
}

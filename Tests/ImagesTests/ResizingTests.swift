// SPDX-License-Identifier: Apache-2.0
// Resizing and gray values against Pillow, crops against torchvision. The pixels come from
// Tests/Fixtures/make_image_fixtures.py, those of the bicubic filter from make_clip_score_fixtures.py.

import Foundation
import TestKit
import Testing

@testable import Images

@Suite struct ResizingTests {
    private struct Case: Decodable {
        let width, height, newWidth, newHeight: Int
        let pixels, resized, gray: Data
    }

    @Test("the Lanczos filter and the conversion to gray have Pillow's values", .tags(.golden))
    func parity() throws {
        let cases: [Case] = try fixture("resizing", in: .module)
        #expect(cases.count == 12)
        for item in cases {
            let image = RGBImage(width: item.width, height: item.height, interleaved: [UInt8](item.pixels))
            let resized = image.resized(width: item.newWidth, height: item.newHeight)
            let label = "\(item.width)x\(item.height) to \(item.newWidth)x\(item.newHeight)"
            #expect(resized.width == item.newWidth && resized.height == item.newHeight)
            #expect(resized.interleaved == [UInt8](item.resized), "\(label)")
            #expect(resized.grayscale.map { UInt8(($0 * 255).rounded()) } == [UInt8](item.gray), "\(label)")
        }
    }

    private struct TrainingCase: Decodable {
        let width, height, side, resizedWidth, resizedHeight, cropX, cropY, cropWidth, cropHeight: Int
        let pixels, resized, tensor, cropped: Data
    }

    @Test("images for training are resized and cropped as torchvision does it", .tags(.golden))
    func training() throws {
        let cases: [TrainingCase] = try fixture("training", in: .module)
        #expect(cases.count == 8)
        for item in cases {
            let image = RGBImage(width: item.width, height: item.height, interleaved: [UInt8](item.pixels))
            let resized = image.resized(shortSide: item.side)
            let label = "\(item.width)x\(item.height) to \(item.side)"
            #expect(resized.width == item.resizedWidth && resized.height == item.resizedHeight, "\(label)")
            #expect(resized.interleaved == [UInt8](item.resized), "\(label)")
            // torchvision rounds weights to fewer bits if the image is a tensor.
            #expect(zip(resized.interleaved, item.tensor).allSatisfy { abs(Int($0) - Int($1)) <= 1 }, "\(label)")
            let origin = resized.centerCropOrigin(width: item.cropWidth, height: item.cropHeight)
            #expect(origin == (item.cropX, item.cropY), "\(label)")
            let cropped = resized.centerCropped(width: item.cropWidth, height: item.cropHeight)
            #expect(cropped.width == item.cropWidth && cropped.height == item.cropHeight, "\(label)")
            #expect(cropped.interleaved == [UInt8](item.cropped), "\(label)")
        }
    }

    @Test("crops and reflections move pixels")
    func geometry() {
        let image = RGBImage(width: 5, height: 3, pixels: (0..<45).map { Float($0) })
        let part = image.cropped(x: 1, y: 2, width: 3, height: 1)
        #expect(part == RGBImage(width: 3, height: 1, pixels: [11, 12, 13, 26, 27, 28, 41, 42, 43]))
        #expect(image.cropped(x: 0, y: 0, width: 5, height: 3) == image)
        let mirrored = image.flippedHorizontally()
        for y in 0..<3 { for x in 0..<5 { #expect(mirrored[x, y] == image[4 - x, y]) } }
    }

    private struct BicubicCase: Decodable {
        let width, height, newWidth, newHeight: Int
        let pixels, resized: Data
    }

    @Test("the bicubic filter has Pillow's values", .tags(.golden))
    func bicubic() throws {
        let cases: [BicubicCase] = try fixture("resizing-bicubic", in: .module)
        #expect(cases.count == 8)
        for item in cases {
            let image = RGBImage(width: item.width, height: item.height, interleaved: [UInt8](item.pixels))
            let resized = image.resized(width: item.newWidth, height: item.newHeight, filter: .bicubic)
            #expect(
                resized.interleaved == [UInt8](item.resized),
                "\(item.width)x\(item.height) to \(item.newWidth)x\(item.newHeight)")
        }
    }

    @Test("an image of the same size is returned as it is, a uniform one stays uniform")
    func special() {
        let image = RGBImage(width: 3, height: 2, pixels: (0..<18).map { Float($0) / 17 })
        #expect(image.resized(width: 3, height: 2) == image)
        let gray = RGBImage(width: 9, height: 7, filledWith: SIMD3(repeating: 0.6))
        #expect(gray.resized(width: 31, height: 2) == RGBImage(width: 31, height: 2, filledWith: SIMD3(repeating: 0.6)))
    }
}

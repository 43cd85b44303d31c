// SPDX-License-Identifier: Apache-2.0
// Image files with random changes give an image of the announced size or an error of one line, never a crash or an
// access out of bounds; `make fuzz` runs this test with sanitizers.

import TestKit
import Testing

@testable import Images

@Suite struct ImageFuzzTests {
    @Test("changed files of every format give errors or images of the announced size", arguments: 0..<4)
    func fuzz(lane: UInt64) throws {
        let files = try ImageFileCase.all().map(\.bytes) + PNGCases.all().cases.map { [UInt8]($0.file) }
        var mutator = Mutator(seed: 70 + lane)
        let wanted = fuzzInputs(2000, share: 1 / 4)
        var refused = 0
        for index in 0..<wanted {
            let damaged = mutator.bytes(files[index % files.count])
            do throws(ImageFileError) {
                let image = try ImageFile.decode(damaged, name: "image", maximumPixels: 1 << 14)
                let size = try ImageFile.size(of: damaged, name: "image")
                guard size == (image.width, image.height) else {
                    Issue.record("\(size) announced, \(image.width)x\(image.height) decoded: \(damaged)")
                    return
                }
            } catch {
                refused += 1
                guard !error.description.contains("\n") else {
                    Issue.record("the message of \(error) is not one line")
                    return
                }
            }
        }
        #expect(refused > wanted / 10 && refused < wanted)
    }
}

// SPDX-License-Identifier: Apache-2.0
// Docs/Formats.md says how to read a packed layer with h5py and NumPy: its own program, run on our files.

import Foundation
import Packing
import Recipes
import Tensors
import TestKit
import Testing

@testable import Checkpoints

@Suite struct FormatsDocumentTests {
    private static let document = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("Docs/Formats.md")

    /// The Python program behind the marker `name`.
    private func snippet(_ name: String) throws -> String {
        let text = try String(contentsOf: Self.document, encoding: .utf8)
        let afterMarker = try #require(
            text.components(separatedBy: "<!-- snippet: \(name) -->\n").dropFirst().first)
        let code = try #require(afterMarker.components(separatedBy: "```python\n").dropFirst().first)
        return try #require(code.components(separatedBy: "```").first)
    }

    @Test("the program in Docs/Formats.md has about 20 lines of code")
    func length() throws {
        let lines = try snippet("read_packed_layer").split(separator: "\n", omittingEmptySubsequences: true)
        #expect(lines.count <= 20)
    }

    @Test(
        "the program in Docs/Formats.md reads packed layers of all bits and encodings, bit for bit",
        .enabled(if: Python.has("h5py", "numpy"), "Python with h5py is not installed"),
        arguments: [ElementType.float32, .float16])
    func readsPackedLayers(_ scaleType: ElementType) throws {
        let folder = try TemporaryFolder()
        let path = folder.file("packed.h5")
        let shapes = [[3, 7], [2, 5, 3, 3], [1, 1], [4, 16, 1, 1], [5, 23]]
        let writer = try CheckpointWriter(path, header: SampleCheckpoint.header(.packed))
        var layers: [String] = []
        // The last one is the grid of 255 levels.
        for (bits, fitsInByte) in (1...8).map({ ($0, false) }) + [(8, true)] {
            for encoding in PackingEncoding.allCases {
                for (index, shape) in shapes.enumerated() {
                    let layer = "b\(bits)\(fitsInByte ? "byte" : "").\(encoding.rawValue).\(index).to_q"
                    try writer.write(
                        SampleCheckpoint.packedLayer(
                            layer, bits: bits, encoding: encoding, shape: shape,
                            seed: UInt64(bits * 10 + index), fitsInByte: fitsInByte),
                        scaleType: scaleType)
                    layers.append(layer)
                }
            }
        }
        try writer.finish()
        let program =
            try snippet("read_entropy") + snippet("read_packed_layer") + """

                import sys
                with h5py.File(sys.argv[1]) as file:
                    for path in sys.argv[2].split():
                        weight = read_packed_layer(file, path)
                        assert weight.dtype == np.float32, weight.dtype
                        print(path, *weight.shape, weight.tobytes().hex())
                """
        let lines = try Python.run(program, path, layers.joined(separator: " ")).split(separator: "\n")
        #expect(lines.count == layers.count)
        let reader = try CheckpointReader(path)
        for (line, layer) in zip(lines, layers) {
            let weight = try reader.packedLayer(layer).dequantized()
            let hex = weight.values.map { value in
                withUnsafeBytes(of: value.bitPattern.littleEndian) { bytes in
                    bytes.map { String(format: "%02x", $0) }.joined()
                }
            }.joined()
            let shape = weight.shape.map(String.init).joined(separator: " ")
            #expect(line == "\(layer) \(shape) \(hex)")
        }
    }

    @Test("the layout of the groups in Docs/Formats.md is the one in use")
    func groups() throws {
        let text = try String(contentsOf: Self.document, encoding: .utf8)
        for encoding in PackingEncoding.allCases where encoding.hasFixedSize {
            let groups = try BitWidth.all.map { bits in
                let layout = try PackingLayout(levels: bits.levels, encoding: encoding)
                return "\(layout.codesPerGroup)/\(layout.bitsPerGroup)"
            }
            let row = try #require(
                text.split(separator: "\n").first { $0.hasPrefix("\(encoding.rawValue) k/w") })
            #expect(row.split(separator: " ").dropFirst(2).map(String.init) == groups)
        }
    }
}

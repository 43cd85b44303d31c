// SPDX-License-Identifier: Apache-2.0
// The log of a run: JSON lines, TensorBoard's records, and what quantized weights have moved.

import Foundation
import Quantization
import Recipes
import Tensors
import TestKit
import Testing

@testable import QAT

@Suite struct TrainingLogTests {
    private func metrics(_ step: Int) -> StepMetrics {
        StepMetrics(
            step: step, loss: Float(step) / 4, parts: ["noise": 0.5], gradientNorm: .infinity, learningRate: 0.25)
    }

    @Test("each step is a line; a resumed run removes lines of steps that it repeats, and incomplete ones")
    func lines() throws {
        let folder = try TemporaryFolder(), path = folder.file("log")
        do {
            let log = try TrainingLog(folder: path, step: 0)
            for step in 1...3 { try log.add(metrics(step), ["samplesPerSecond": 8]) }
        }
        let line = """
            {"step": 1, "gradientNorm": null, "learningRate": 0.25, "loss": 0.25, "loss/noise": 0.5, \
            "samplesPerSecond": 8.0}
            """
        let file = folder.url("log/metrics.jsonl")
        let first = try String(contentsOf: file, encoding: .utf8)
        #expect(first.hasPrefix(line + "\n") && first.split(separator: "\n").count == 3)
        try (first + "{\"step\": 4, \"lo").write(to: file, atomically: true, encoding: .utf8)

        let resumed = try TrainingLog(folder: path, step: 2)
        try resumed.add(metrics(3))
        let steps = try String(contentsOf: file, encoding: .utf8).split(separator: "\n").map {
            try #require(JSONSerialization.jsonObject(with: Data($0.utf8)) as? [String: Any])["step"] as? Int
        }
        #expect(steps == [1, 2, 3])
        #expect(folder.names == ["log"])
        let names = try FileManager.default.contentsOfDirectory(atPath: path)
        #expect(names.count { $0.hasPrefix("events.out.tfevents.") } == 2)

        _ = try TrainingLog(folder: path, step: 0)
        #expect(try String(contentsOf: file, encoding: .utf8) == "")
    }

    @Test("CRC-32C of the check value")
    func checksum() { #expect(CRC32C.checksum(of: Array("123456789".utf8)) == 0xE306_9283) }

    /// The contents of the records of an event file, whose lengths and checksums are verified.
    private func records(_ bytes: [UInt8]) throws -> [[UInt8]] {
        func masked(_ bytes: [UInt8]) -> UInt32 {
            let sum = CRC32C.checksum(of: bytes)
            return (sum >> 15 | sum << 17) &+ 0xA282_EAD8
        }
        func integer(_ at: Int, _ count: Int) -> UInt64 {
            bytes[at..<at + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
        }
        var (at, records) = (0, [[UInt8]]())
        while at < bytes.count {
            let length = Int(integer(at, 8))
            #expect(integer(at + 8, 4) == UInt64(masked(Array(bytes[at..<at + 8]))))
            let content = Array(bytes[at + 12..<at + 12 + length])
            #expect(integer(at + 12 + length, 4) == UInt64(masked(content)))
            records.append(content)
            at += 16 + length
        }
        return records
    }

    @Test("event files are records of protocol buffers as TensorBoard reads them")
    func events() throws {
        let folder = try TemporaryFolder()
        let events = try TensorBoardFile(in: folder.path, step: 300, time: 2)
        try events.add(["b": 1, "a": -0.5], step: 301, time: 3)
        try events.add(image: [7, 8], width: 2, height: 1, tag: "t", step: 301, time: 3)
        let found = try records([UInt8](Data(contentsOf: URL(fileURLWithPath: events.path))))
        let (two, three): ([UInt8], [UInt8]) = ([0x09, 0, 0, 0, 0, 0, 0, 0, 0x40], [0x09, 0, 0, 0, 0, 0, 0, 8, 0x40])
        #expect(
            found == [
                two + [0x10, 0, 0x1A, 13] + Array("brain.Event:2".utf8),
                two + [0x10, 0xAC, 2, 0x3A, 2, 0x08, 1],
                three + [
                    0x10, 0xAD, 2, 0x2A, 20,  // summary
                    0x0A, 8, 0x0A, 1, 0x61, 0x15, 0, 0, 0, 0xBF,  // a: -0.5
                    0x0A, 8, 0x0A, 1, 0x62, 0x15, 0, 0, 0x80, 0x3F,  // b: 1
                ],
                three + [
                    0x10, 0xAD, 2, 0x2A, 17,  // summary
                    0x0A, 15, 0x0A, 1, 0x74, 0x22, 10, 0x08, 1, 0x10, 2, 0x18, 3, 0x22, 2, 7, 8,
                ],
            ])
    }

    @Test(
        "TensorBoard reads the values",
        .enabled(if: Python.has("tensorboard"), "Python with tensorboard is not installed"))
    func tensorBoard() throws {
        let folder = try TemporaryFolder()
        let log = try TrainingLog(folder: folder.file("log"), step: 0)
        for step in 1...3 { try log.add(metrics(step)) }
        let program = """
            import sys
            from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
            log = EventAccumulator(sys.argv[1])
            log.Reload()
            print(sorted(log.Tags()["scalars"]), [(e.step, e.value) for e in log.Scalars("loss")])
            """
        #expect(
            try Python.run(program, folder.file("log"))
                == "['gradientNorm', 'learningRate', 'loss', 'loss/noise'] [(1, 0.25), (2, 0.5), (3, 0.75)]\n")
    }

    @Test("codes and scales that change are counted")
    func drift() throws {
        var random = Philox(seed: 1, stream: 0)
        let latent = Parameter("w", random.normal([8, 5000]))
        let weight = FakeQuantizedWeight(latent: latent, bits: BitWidth(2), initialization: .paper)
        let drift = QuantizationDrift(of: [weight])
        #expect(drift.measured() == (0, 0))
        weight.scaleParameter.value = weight.scaleParameter.value * 2
        let doubled = drift.measured()
        #expect(doubled.scaleDrift == 1 && doubled.changedCodes > 0.1 && doubled.changedCodes < 1)
        latent.value = latent.value * 2
        #expect(drift.measured().changedCodes == 0)
    }
}

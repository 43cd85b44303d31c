// SPDX-License-Identifier: Apache-2.0
// The list of cases, and the operations of the PyTorch scripts. PyTorch is not required.

import Foundation
import Tensors
import Testing

@testable import BitsFusionBench

@Suite struct BenchmarkCaseTests {
    private static let scripts = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent().appendingPathComponent("Benchmarks/pytorch")

    @Test("every case has a unique name and a count of operations or bytes")
    func cases() {
        let all = BenchmarkCase.all
        #expect(Set(all.map(\.name)).count == all.count)
        #expect(
            all.filter { $0.group == .kernels }.allSatisfy { ($0.operations == nil) != ($0.bytes == nil) })
        #expect(Set(all.map(\.group)) == Set(BenchmarkGroup.allCases))
    }

    @Test("every operation of a case is defined in the PyTorch scripts")
    func operations() throws {
        var known: Set<String> = []
        for file in ["kernels.py", "unets.py", "stage_one.py", "autoencoders.py", "pipelines.py", "data_sets.py"] {
            let text = try String(
                contentsOf: Self.scripts.appendingPathComponent(file), encoding: .utf8)
            let table = try #require(text.range(of: "OPERATIONS = {"))
            for match in text[table.upperBound...].matches(of: #/"([a-z0-9_]+)": /#) {
                known.insert(String(match.output.1))
            }
        }
        let asked = Set(BenchmarkCase.all.filter { !$0.twins.isEmpty }.map(\.operation))
        #expect(asked.subtracting(known).isEmpty)
        #expect(known.subtracting(asked).isEmpty)
    }

    @Test("eleven cases have targets")
    func targets() {
        let targets = BenchmarkCase.all.filter { $0.targets != RatioTargets() }
            .map { "\($0.name): \($0.targets.float32 ?? 0), \($0.targets.bfloat16 ?? 0)" }
        #expect(
            targets == [
                "conv3x3 1x320x64x64->320: 0.4, 0.75", "forward sd15 unet 64x64: 0.45, 0.85",
                "forward sd15 unet 32x32: 0.45, 0.9", "train shapes unet, batch 32: 0.45, 0.8",
                "train stage I sd15 unet 32x32: 0.0, 0.35", "packed linear 1x1280->1280, ternary: 0.0, 0.2",
                "packed forward sd15 unet 64x64: 0.27, 0.5", "vae decode sd15 64x64: 0.75, 0.75",
                "sample sd15 512x512, 20 steps, packed: 0.45, 0.45",
                "dataset sd15, JPEG to 512x512 latents: 0.77, 0.77",
                "analyze noise, sd15 unet 32x32, 12 candidates: 0.25, 0.0",
            ])
    }
}

// SPDX-License-Identifier: Apache-2.0
// The machine and software of a run: the head of every table.

import BitsFusion
import Foundation

/// The machine and the programs on it.
struct MachineDescription: Codable {
    let processor: String
    let processors: Int
    let threads: Int
    /// The instruction set of our kernels.
    let kernels: String
    /// The CPU type of the OpenBLAS kernels.
    let openBLASCore: String
    /// Environment variables that override the settings of OpenBLAS.
    let openBLASVariables: [String: String]
    /// The highest measured in the run.
    var ceiling: MachineCeiling
    let version: String
    /// Nil with `--ours-only`.
    let torch: String?
    let torchCapability: String?
    let torchThreads: Int?
    /// Resident bytes of our process and of the PyTorch process before the first case; included in every peak.
    let restingBytes: Int?
    let torchRestingBytes: Int?

    init(ceiling: MachineCeiling, twin: TwinAnswer?, restingBytes: Int?, torchRestingBytes: Int?) {
        self.restingBytes = restingBytes
        self.torchRestingBytes = torchRestingBytes
        processor = MachineUsage.processorName
        processors = ProcessInfo.processInfo.activeProcessorCount
        threads = Threads.count
        kernels = kernelInstructionSet
        openBLASCore = openBLASCoreName
        let environment = ProcessInfo.processInfo.environment
        openBLASVariables = environment.filter { ["OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"].contains($0.key) }
        self.ceiling = ceiling
        version = toolVersion
        torch = twin?.torch
        torchCapability = twin?.capability
        torchThreads = twin?.threads
    }

    private static func atRest(_ bytes: Int?) -> String {
        bytes.map { "; \(Format.megabytes($0)) MB at rest" } ?? ""
    }

    /// The lines at the head of a table.
    var lines: [String] {
        var lines = [
            "\(processor), \(processors) processors, \(threads) \(threads == 1 ? "thread" : "threads"); "
                + "ceiling \(Format.rate(ceiling.operationsPerSecond, "FLOPS")) in Float32, "
                + "\(Format.rate(ceiling.bytesPerSecond, "B/s")) of memory",
            "bitsfusion \(version): kernels \(kernels), OpenBLAS for \(openBLASCore)"
                + Self.atRest(restingBytes),
            torch.map {
                "PyTorch \($0): \(torchCapability ?? "unknown capability"), \(torchThreads ?? 0) threads"
                    + Self.atRest(torchRestingBytes)
            } ?? "PyTorch: not run (--ours-only)",
        ]
        for (name, value) in openBLASVariables.sorted(by: { $0.key < $1.key }) {
            lines.append(
                "warning: \(name)=\(value) is set, which can halve the speed of OpenBLAS; run with env -u \(name)")
        }
        return lines
    }
}

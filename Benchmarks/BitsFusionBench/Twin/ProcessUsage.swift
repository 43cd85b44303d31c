// SPDX-License-Identifier: Apache-2.0
// Time and memory of processes and of the machine, from the clock and from Linux's /proc. Values that another system
// does not provide are nil, and are printed as unknown.

import Foundation

/// Seconds of the monotonic clock.
func secondsNow() -> Double { Double(DispatchTime.now().uptimeNanoseconds) * 1e-9 }

/// Time and memory of one process.
struct ProcessUsage {
    /// nil: this process.
    let identifier: Int32?

    static let own = ProcessUsage(identifier: nil)

    private var folder: String { identifier.map { "/proc/\($0)" } ?? "/proc/self" }

    /// Processor seconds of all existing threads.
    var processorSeconds: Double? {
        guard let tasks = try? FileManager.default.contentsOfDirectory(atPath: folder + "/task") else {
            return nil
        }
        // A thread may end between the two reads.
        let nanoseconds = tasks.compactMap { firstNumber(inFile: "\(folder)/task/\($0)/schedstat") }
        return nanoseconds.reduce(0, +) * 1e-9
    }

    /// Sets the peak to the present resident size; false if the system does not support it.
    @discardableResult
    func resetPeak() -> Bool {
        guard let file = FileHandle(forWritingAtPath: folder + "/clear_refs") else { return false }
        defer { try? file.close() }
        return (try? file.write(contentsOf: Data("5".utf8))) != nil
    }

    /// The largest resident size since the last reset, in bytes.
    var peakBytes: Int? {
        guard let status = try? String(contentsOfFile: folder + "/status", encoding: .utf8),
            let line = status.split(separator: "\n").first(where: { $0.hasPrefix("VmHWM:") }),
            let kilobytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
        else { return nil }
        return kilobytes * 1024
    }
}

/// Time and memory of the whole machine.
enum MachineUsage {
    /// Processor seconds of all processes by two clocks: that of the machine, in steps of 10 ms and including time
    /// taken by a hypervisor, and that of the control group, which is exact but may include this container only.
    struct Busy {
        let machine: Double?
        let group: Double?

        /// Seconds used since `start`. The coarse clock is used if it exceeds the exact one by more than its
        /// resolution.
        func growth(since start: Busy) -> Double? {
            let exact = group.flatMap { end in start.group.map { end - $0 } }
            let coarse = machine.flatMap { end in start.machine.map { end - $0 } }
            guard let exact, let coarse else { return coarse }
            let steps = 2 * MachineUsage.tick * Double(ProcessInfo.processInfo.activeProcessorCount)
            return max(exact, coarse - steps)
        }
    }

    private static let tick = 1 / Double(sysconf(Int32(_SC_CLK_TCK)))

    static var busy: Busy {
        var machine: Double?
        if let stat = try? String(contentsOfFile: "/proc/stat", encoding: .utf8),
            let line = stat.split(separator: "\n").first
        {
            // user nice system idle iowait irq softirq steal
            let ticks = line.split(separator: " ").dropFirst().prefix(8).compactMap { Double($0) }
            if ticks.count == 8 { machine = (ticks.reduce(0, +) - ticks[3] - ticks[4]) * tick }
        }
        return Busy(machine: machine, group: groupSeconds)
    }

    /// Version 1 of control groups counts nanoseconds, version 2 microseconds.
    private static var groupSeconds: Double? {
        if let nanoseconds = firstNumber(inFile: "/sys/fs/cgroup/cpuacct/cpuacct.usage") {
            return nanoseconds * 1e-9
        }
        guard let text = try? String(contentsOfFile: "/sys/fs/cgroup/cpu.stat", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("usage_usec ") })
        else { return nil }
        return line.split(separator: " ").last.flatMap { Double($0) }.map { $0 * 1e-6 }
    }

    /// Bytes of memory available without swapping.
    static var availableBytes: Int? {
        guard let text = try? String(contentsOfFile: "/proc/meminfo", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("MemAvailable:") }),
            let kilobytes = line.split(whereSeparator: \.isWhitespace).dropFirst().first.flatMap({ Int($0) })
        else { return nil }
        return kilobytes * 1024
    }

    /// The name of the processor.
    static var processorName: String {
        guard let text = try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("model name") }),
            let name = line.split(separator: ":").dropFirst().first
        else { return "unknown processor" }
        return name.trimmingCharacters(in: .whitespaces)
    }
}

/// The first number in a file of the Linux kernel.
private func firstNumber(inFile path: String) -> Double? {
    (try? String(contentsOfFile: path, encoding: .utf8))
        .flatMap { $0.split(whereSeparator: \.isWhitespace).first }.flatMap { Double($0) }
}

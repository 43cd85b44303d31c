// SPDX-License-Identifier: Apache-2.0
// The processes that MPI started. Before each exchange all processes meet: one that has failed says so there, and the
// others end instead of waiting for it.

import CMPIAdapter
import Files
import Foundation
import Synchronization

/// The processes of an MPI job.
public final class MPICommunicator: Communicator, @unchecked Sendable {
    public let rank: Int
    public let size: Int
    /// The name of this machine.
    public let host: String
    /// The MPI library.
    public let library: String
    /// The number of processes on this machine.
    public var sizeOfMachine: Int { Int(adapter.local_size) }
    /// The names of the machines of all processes.
    public private(set) var hosts: [String] = []

    private let adapter: bf_mpi_adapter
    private let watchdog: Watchdog
    /// Set after the reports of failed processes were exchanged: nothing can be exchanged afterwards.
    private var failure: PeerFailure?

    /// Starts MPI.
    ///
    /// - Parameters:
    ///   - launcher: the launcher of this process.
    ///   - deadline: the seconds after which processes that do not answer end the job.
    ///   - warn: prints a line.
    ///   - isEnding: whether this process has been told to end.
    /// - Throws: `MPIError`.
    public init(
        _ launcher: MPILauncher, deadline: Double, warn: @escaping @Sendable (String) -> Void,
        isEnding: @escaping @Sendable () -> Bool
    ) throws {
        let loaded = try MPIAdapter.load(for: launcher)
        if let reason = loaded.pointee.start() { throw MPIError.startFailed(reason: String(cString: reason)) }
        adapter = loaded.pointee
        (rank, size) = (Int(adapter.rank), Int(adapter.size))
        host = Self.hostName
        library = withUnsafeBytes(of: adapter.library) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
        if let started = launcher.size, started != size {
            throw MPIError.otherSize(processes: launcher.description, size: size, library: library)
        }
        watchdog = Watchdog(adapter, deadline: deadline, warn: warn, isEnding: isEnding)
        hosts = try gather(Array(host.utf8)).map { String(decoding: $0, as: UTF8.self) }
        watchdog.hosts = hosts
        watchdog.start()
    }

    private static var hostName: String {
        var name = [CChar](repeating: 0, count: 256)
        guard gethostname(&name, name.count - 1) == 0 else { return "unknown host" }
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }

    public func sum(_ values: UnsafeMutableBufferPointer<Int32>) throws {
        try exchange("sum of \(values.count) 32-bit values") {
            guard let address = values.baseAddress else { return }
            adapter.sum_int32(address, values.count, pieceLength)
        }
    }

    public func sum(_ values: inout [Int64]) throws {
        try exchange("sum of \(values.count) 64-bit values") {
            values.withUnsafeMutableBufferPointer { values in
                guard let address = values.baseAddress else { return }
                adapter.sum_int64(address, values.count)
            }
        }
    }

    public func sum(_ values: UnsafeMutableBufferPointer<Int32>, parts counts: [Int]) throws {
        try exchange("sums of parts of \(values.count) values") {
            guard let address = values.baseAddress else { return }
            adapter.sum_parts(address, counts.map(Int32.init), isOneMachine ? 1 << 20 : 0)
        }
    }

    public func share(_ values: UnsafeMutableBufferPointer<Int32>, parts counts: [Int]) throws {
        try exchange("exchange of parts of \(values.count) values") {
            guard let address = values.baseAddress else { return }
            adapter.share_parts(address, counts.map(Int32.init))
        }
    }

    public func gather(_ bytes: [UInt8]) throws -> [[UInt8]] {
        var result: [[UInt8]] = []
        try exchange("gather") { result = gathered(bytes) }
        return result
    }

    public func distribute(
        _ tasks: [Int], ahead: Int?, work: (_ task: Int) throws -> [UInt8],
        collect: (_ task: Int, _ result: [UInt8]) throws -> Void
    ) throws {
        guard adapter.has_threads else { throw MPIError.noThreads(library: library) }
        try exchange("start of a distribution") {}
        let distribution = TaskDistribution(adapter: adapter, watchdog: watchdog)
        if isFirst {
            try distribution.coordinate(tasks, ahead: ahead, work: work, collect: collect)
        } else {
            try distribution.work(work)
        }
    }

    /// Without meeting first.
    private func gathered(_ bytes: [UInt8]) -> [[UInt8]] {
        var sizes = [Int64](repeating: 0, count: size)
        sizes[rank] = Int64(bytes.count)
        adapter.sum_int64(&sizes, size)
        var all = [UInt8](repeating: 0, count: sizes.reduce(0) { $0 + Int($1) })
        // An empty array has no address.
        adapter.gather(bytes + [0], sizes.map(Int32.init), &all)
        var start = 0
        return sizes.map { count in
            defer { start += Int(count) }
            return Array(all[start..<start + Int(count)])
        }
    }

    /// Between machines large messages make better use of the network; inside one, pieces that fit in the cache are
    /// summed two to three times as fast.
    private var pieceLength: Int { isOneMachine ? 1 << 20 : 1 << 24 }

    private var isOneMachine: Bool { sizeOfMachine == size }

    /// Runs `body` after all processes have come to the same operation.
    ///
    /// - Throws: `PeerFailure`, `MPIError.differentOperations`.
    private func exchange(_ operation: String, _ body: () -> Void) throws {
        if let failure { throw failure }
        try watchdog.watching(operation) {
            try meet(report: nil, operation)
            body()
        }
    }

    /// Waits for all processes and compares what they are about to do.
    ///
    /// - Parameters:
    ///   - report: the failure of this process; nil for none.
    ///   - operation: what follows.
    /// - Throws: `PeerFailure`, `MPIError.differentOperations`.
    private func meet(report: ProcessReport?, _ operation: String) throws {
        let identity = Int64(truncatingIfNeeded: operation.utf8.reduce(5381 as UInt64) { ($0 &* 33) ^ UInt64($1) } >> 2)
        var values = [report == nil ? 0 : 1, identity, -identity]
        adapter.meet(&values, Int32(values.count))
        if values[0] > 0 {
            let encoded = try report.map { try JSONEncoder().encode($0) } ?? Data()
            let reports = try gathered(Array(encoded)).filter { !$0.isEmpty }.map {
                try JSONDecoder().decode(ProcessReport.self, from: Data($0))
            }
            let found = PeerFailure(reports)
            failure = found
            throw found
        }
        guard values[1] == -values[2] else { throw MPIError.differentOperations(rank: rank, operation: operation) }
    }

    /// Tells the other processes how this one ended. Nothing can be exchanged afterwards.
    ///
    /// - Parameter report: how this process failed; nil if it did not.
    /// - Returns: the reports of all processes that failed.
    public func conclude(_ report: ProcessReport?) -> [ProcessReport] {
        while failure == nil {
            do {
                try watchdog.watching("end of the run") { try meet(report: report, "end") }
                break
            } catch let error as PeerFailure {
                failure = error
            } catch MPIError.differentOperations {
                // Another process has come to an exchange. It fails there, too, and reports it at the next meeting.
                continue
            } catch {
                failure = PeerFailure(report.map { [$0] } ?? [])
            }
        }
        watchdog.stop()
        return failure?.reports ?? []
    }

    /// Ends MPI, after `conclude`. Not after a signal: a launcher that ends its processes answers no longer.
    public func finalize() { adapter.finish() }
}

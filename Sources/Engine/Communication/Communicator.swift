// SPDX-License-Identifier: Apache-2.0
// The processes of one run. Every process runs the same program on the same settings; what they exchange are integers
// and bytes, so that results do not depend on the number of processes or on the order in which values arrive.

import Files

/// The processes of one run, as seen from one of them.
///
/// All functions are collective: every process calls them in the same order with values of the same size. They throw
/// `PeerFailure` in all processes after one of them has failed.
public protocol Communicator: AnyObject {
    /// The number of this process, 0 ..< `size`. Process 0 prints and writes files.
    var rank: Int { get }
    /// The number of processes.
    var size: Int { get }

    /// Adds up the values of all processes in place, modulo 2^32.
    func sum(_ values: UnsafeMutableBufferPointer<Int32>) throws

    /// Adds up the values of all processes in place, modulo 2^64.
    func sum(_ values: inout [Int64]) throws

    /// Adds up the values of all processes, modulo 2^32. Process r receives only its part, the r-th one of `counts`;
    /// the others are undefined afterwards.
    ///
    /// - Precondition: one count for each process; their sum is the number of values.
    func sum(_ values: UnsafeMutableBufferPointer<Int32>, parts counts: [Int]) throws

    /// Sends every process's part to all others: part r, of `counts[r]` values, is that of process r.
    ///
    /// - Precondition: as for `sum(_:parts:)`.
    func share(_ values: UnsafeMutableBufferPointer<Int32>, parts counts: [Int]) throws

    /// The bytes of all processes, in the order of their ranks.
    func gather(_ bytes: [UInt8]) throws -> [[UInt8]]

    /// Hands out tasks, one at a time, to whichever process is free.
    ///
    /// - Parameters:
    ///   - tasks: those of the first process are handed out, in this order.
    ///   - ahead: how many tasks behind the first one whose result is missing may be handed out; nil for all.
    ///   - work: the result of a task, in the process that it was handed to.
    ///   - collect: called in the first process as soon as a task is done, in any order but never twice at once.
    /// - Throws: what `work` and `collect` throw; `PeerFailure`.
    func distribute(
        _ tasks: [Int], ahead: Int?, work: (_ task: Int) throws -> [UInt8],
        collect: (_ task: Int, _ result: [UInt8]) throws -> Void
    ) throws
}

extension Communicator {
    /// Whether this process prints and writes files.
    public var isFirst: Bool { rank == 0 }

    /// Whether `flag` is true in a process.
    public func any(_ flag: Bool) throws -> Bool {
        guard size > 1 else { return flag }
        var votes = [Int64(flag ? 1 : 0)]
        try sum(&votes)
        return votes[0] > 0
    }

    /// Hands out all tasks without waiting for results of earlier ones.
    public func distribute(
        _ tasks: [Int], work: (_ task: Int) throws -> [UInt8], collect: (_ task: Int, _ result: [UInt8]) throws -> Void
    ) throws {
        try distribute(tasks, ahead: nil, work: work, collect: collect)
    }

    /// Hands out tasks as `distribute` does, but collects their results in the order of the tasks. Results that come
    /// before those of earlier tasks are held in memory: at most those of eight tasks for each process.
    public func distributeInOrder(
        _ tasks: [Int], work: (_ task: Int) throws -> [UInt8], collect: (_ task: Int, _ result: [UInt8]) throws -> Void
    ) throws {
        var arrived: [Int: [UInt8]] = [:]
        var missing = tasks[...]
        try distribute(tasks, ahead: 8 * size, work: work) { task, result in
            arrived[task] = result
            while let next = missing.first, let result = arrived.removeValue(forKey: next) {
                missing = missing.dropFirst()
                try collect(next, result)
            }
        }
    }

    /// The values of process 0.
    ///
    /// - Parameter values: nil in the other processes.
    /// - Returns: the same values in all processes.
    /// - Throws: `PeerFailure`.
    public func broadcast(_ values: [Float]?) throws -> [Float] {
        if size == 1, let values { return values }
        let own = isFirst ? values ?? [] : []
        var count = [Int64(own.count)]
        try sum(&count)
        var result: [Float] = []
        result.reserveCapacity(Int(count[0]))
        // Messages have at most 2^31 bytes.
        for start in stride(from: 0, to: Int(count[0]), by: Self.broadcastPiece) {
            let piece = own.dropFirst(start).prefix(Self.broadcastPiece)
            let bytes = try gather(piece.withUnsafeBytes { Array($0) })[0]
            bytes.withUnsafeBytes { result += $0.bindMemory(to: Float.self) }
        }
        return result
    }

    private static var broadcastPiece: Int { 1 << 26 }

    /// Checks that `text` is the same in all processes.
    ///
    /// - Returns: the first rank with another text than process 0, and both texts; nil if all are equal.
    public func difference(in text: String) throws -> (rank: Int, first: String, other: String)? {
        guard size > 1 else { return nil }
        let texts = try gather(Array(text.utf8)).map { String(decoding: $0, as: UTF8.self) }
        guard let rank = texts.indices.first(where: { texts[$0] != texts[0] }) else { return nil }
        return (rank, texts[0], texts[rank])
    }
}

/// The only process of its run.
public final class SingleProcess: Communicator, Sendable {
    public init() {}

    public var rank: Int { 0 }
    public var size: Int { 1 }
    public func sum(_ values: UnsafeMutableBufferPointer<Int32>) {}
    public func sum(_ values: inout [Int64]) {}
    public func sum(_ values: UnsafeMutableBufferPointer<Int32>, parts counts: [Int]) {}
    public func share(_ values: UnsafeMutableBufferPointer<Int32>, parts counts: [Int]) {}
    public func gather(_ bytes: [UInt8]) -> [[UInt8]] { [bytes] }
    public func distribute(
        _ tasks: [Int], ahead: Int?, work: (_ task: Int) throws -> [UInt8],
        collect: (_ task: Int, _ result: [UInt8]) throws -> Void
    ) throws {
        for task in tasks { try collect(task, work(task)) }
    }
}

/// How one process of a run ended.
public struct ProcessReport: Codable, Hashable, Sendable {
    public let rank: Int
    public let host: String
    /// The exit status.
    public let status: Int32
    /// One line for standard error; nil for none.
    public let message: String?

    public init(rank: Int, host: String, status: Int32, message: String?) {
        self.rank = rank
        self.host = host
        self.status = status
        self.message = message
    }
}

/// Another process of the run has failed, so that this one cannot go on.
public struct PeerFailure: Error, Equatable, Sendable {
    /// The reports of the processes that failed.
    public let reports: [ProcessReport]

    public init(_ reports: [ProcessReport]) { self.reports = reports }
}

// SPDX-License-Identifier: Apache-2.0
// Several "processes" of a run as threads of the test, so that tests need no MPI.

import Communication
import Foundation

/// One of several threads that exchange values in memory.
public final class ThreadCommunicator: Communicator, @unchecked Sendable {
    /// What the threads share: the values that each has brought, and who is there.
    private final class Room: @unchecked Sendable {
        private let condition = NSCondition()
        private var values: [[UInt8]]
        private var arrived = 0
        private var round = 0
        private var published: [[UInt8]] = []
        private var hasFailed = false
        private var tasks: ArraySlice<Int> = []
        private var results: [(task: Int, bytes: [UInt8])] = []

        /// Sets the tasks of the first thread.
        func set(_ tasks: [Int]) { condition.withLock { (self.tasks, results) = (tasks[...], []) } }

        func nextTask() throws -> Int? {
            try condition.withLock {
                if hasFailed { throw PeerFailure([]) }
                return tasks.popFirst()
            }
        }

        func add(_ task: Int, _ bytes: [UInt8]) {
            condition.withLock {
                results.append((task, bytes))
                condition.broadcast()
            }
        }

        /// The results that have arrived.
        func takeResults(waiting: Bool) throws -> [(task: Int, bytes: [UInt8])] {
            try condition.withLock {
                while waiting, results.isEmpty, !hasFailed { condition.wait() }
                if waiting, results.isEmpty { throw PeerFailure([]) }
                defer { results = [] }
                return results
            }
        }

        init(_ size: Int) { values = Array(repeating: [], count: size) }

        /// The bytes of all threads; returns when all have come.
        func exchange(_ bytes: [UInt8], rank: Int) throws -> [[UInt8]] {
            condition.lock()
            defer { condition.unlock() }
            values[rank] = bytes
            arrived += 1
            if arrived == values.count {
                (published, arrived, round) = (values, 0, round + 1)
                condition.broadcast()
            } else {
                let mine = round
                while round == mine, !hasFailed { condition.wait() }
                if round == mine { throw PeerFailure([]) }
            }
            return published
        }

        func fail() {
            condition.lock()
            hasFailed = true
            condition.broadcast()
            condition.unlock()
        }
    }

    public let rank: Int
    public let size: Int
    private let room: Room

    private init(_ rank: Int, _ size: Int, _ room: Room) { (self.rank, self.size, self.room) = (rank, size, room) }

    /// The results of `body` in `size` threads, each with its own communicator.
    ///
    /// - Throws: the first error of a thread.
    public static func run<Result>(
        _ size: Int, _ body: @escaping @Sendable (ThreadCommunicator) throws -> Result
    ) throws -> [Result] {
        let room = Room(size), lock = NSLock(), group = DispatchGroup()
        nonisolated(unsafe) var results = [Swift.Result<Result, any Error>?](repeating: nil, count: size)
        for rank in 0..<size {
            group.enter()
            let thread = Thread {
                let result = Swift.Result { try body(ThreadCommunicator(rank, size, room)) }
                if case .failure = result { room.fail() }
                lock.withLock { results[rank] = result }
                group.leave()
            }
            thread.stackSize = 16 << 20
            thread.start()
        }
        group.wait()
        let failures = results.compactMap { result -> (any Error)? in
            if case .failure(let error) = result { error } else { nil }
        }
        // What made the others fail comes first.
        if let error = failures.first(where: { !($0 is PeerFailure) }) ?? failures.first { throw error }
        return try results.compactMap { try $0?.get() }
    }

    public func sum(_ values: UnsafeMutableBufferPointer<Int32>) throws {
        let all = try room.exchange(Array(UnsafeRawBufferPointer(values)), rank: rank)
        values.update(repeating: 0)
        for bytes in all { add(bytes, to: values, values.indices) }
    }

    public func sum(_ values: inout [Int64]) throws {
        let all = try room.exchange(values.withUnsafeBytes(Array.init), rank: rank)
        values = values.map { _ in 0 }
        for bytes in all {
            bytes.withUnsafeBytes { bytes in
                for (index, term) in bytes.bindMemory(to: Int64.self).enumerated() { values[index] &+= term }
            }
        }
    }

    public func sum(_ values: UnsafeMutableBufferPointer<Int32>, parts counts: [Int]) throws {
        let all = try room.exchange(Array(UnsafeRawBufferPointer(values)), rank: rank)
        // The parts of others are undefined by the protocol.
        values.update(repeating: .min)
        let own = part(rank, counts)
        for index in own { values[index] = 0 }
        for bytes in all { add(bytes, to: values, own) }
    }

    public func share(_ values: UnsafeMutableBufferPointer<Int32>, parts counts: [Int]) throws {
        let all = try room.exchange(Array(UnsafeRawBufferPointer(values)), rank: rank)
        values.update(repeating: 0)
        for (rank, bytes) in all.enumerated() { add(bytes, to: values, part(rank, counts)) }
    }

    private func part(_ rank: Int, _ counts: [Int]) -> Range<Int> {
        let first = counts[..<rank].reduce(0, +)
        return first..<first + counts[rank]
    }

    private func add(_ bytes: [UInt8], to values: UnsafeMutableBufferPointer<Int32>, _ range: Range<Int>) {
        bytes.withUnsafeBytes { bytes in
            let terms = bytes.bindMemory(to: Int32.self)
            for index in range { values[index] &+= terms[index] }
        }
    }

    public func distribute(
        _ tasks: [Int], ahead: Int?, work: (_ task: Int) throws -> [UInt8],
        collect: (_ task: Int, _ result: [UInt8]) throws -> Void
    ) throws {
        if isFirst { room.set(tasks) }
        _ = try gather([])
        var done = 0
        func collectArrived(waiting: Bool) throws {
            for (task, bytes) in try room.takeResults(waiting: waiting) {
                try collect(task, bytes)
                done += 1
            }
        }
        do {
            while let task = try room.nextTask() {
                room.add(task, try work(task))
                if isFirst { try collectArrived(waiting: false) }
            }
            while isFirst, done < tasks.count { try collectArrived(waiting: true) }
            // The tasks of the next distribution are for threads that have left this one.
            _ = try gather([])
        } catch {
            room.fail()
            throw error
        }
    }

    public func gather(_ bytes: [UInt8]) throws -> [[UInt8]] { try room.exchange(bytes, rank: rank) }
}

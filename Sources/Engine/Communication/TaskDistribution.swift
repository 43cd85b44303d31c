// SPDX-License-Identifier: Apache-2.0
// Tasks of different length for the processes of an MPI job. Process 0 hands them out in a thread of its own, so that
// no process waits until process 0 has finished its own task, and results are collected as soon as they exist.

import CMPIAdapter
import Foundation

/// What a process sends to process 0: it is ready, with or without a result, or it has failed.
private enum WorkerMessage {
    case ready
    case result(task: Int, [UInt8])
    case failed

    var bytes: [UInt8] {
        switch self {
        case .ready: [0]
        case .result(let task, let bytes): [1] + withUnsafeBytes(of: Int64(task).littleEndian, Array.init) + bytes
        case .failed: [2]
        }
    }

    init(_ bytes: [UInt8]) {
        switch bytes.first {
        case 0: self = .ready
        case 1 where bytes.count >= 9:
            let task = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 1, as: Int64.self) }
            self = .result(task: Int(Int64(littleEndian: task)), Array(bytes[9...]))
        default: self = .failed
        }
    }
}

/// What process 0 answers: the number of a task, or one of these.
private enum Assignment: Int64 {
    case noMoreTasks = -1
    case stop = -2
}

/// The tasks that are not handed out, shared by the two threads of process 0.
private final class TaskQueue: @unchecked Sendable {
    typealias Collect = (_ task: Int, _ result: [UInt8]) throws -> Void

    private let lock = NSLock()
    private var tasks: ArraySlice<Int>
    private var failure: (any Error)?
    /// nil after `close`.
    private var collect: Collect?

    init(_ tasks: [Int], _ collect: @escaping Collect) { (self.tasks, self.collect) = (tasks[...], collect) }

    /// The next task, or an assignment.
    func next() -> Int64 {
        lock.withLock {
            if failure != nil { return Assignment.stop.rawValue }
            return tasks.popFirst().map(Int64.init) ?? Assignment.noMoreTasks.rawValue
        }
    }

    /// Collects a result, unless there was a failure.
    func collect(_ task: Int, _ result: [UInt8]) {
        lock.withLock {
            guard failure == nil else { return }
            do {
                try collect?(task, result)
            } catch {
                failure = error
            }
        }
    }

    /// Hands out no more tasks.
    func fail(_ error: any Error) {
        lock.withLock {
            // An error of this process says more than that of another one.
            if failure == nil || failure is PeerFailure { failure = error }
        }
    }

    /// Releases the function that collects results, which must not outlive the distribution as the thread may.
    func close() { lock.withLock { collect = nil } }

    func checkFailure() throws {
        if let failure = lock.withLock({ failure }) { throw failure }
    }
}

/// The distribution of tasks in one process.
struct TaskDistribution {
    let adapter: bf_mpi_adapter
    let watchdog: Watchdog

    /// Process 0: hands out the tasks, and does some of them.
    ///
    /// - Throws: what `work` and `collect` throw; `PeerFailure` if another process fails.
    func coordinate(
        _ tasks: [Int], work: (Int) throws -> [UInt8], collect: (Int, [UInt8]) throws -> Void
    ) throws {
        try withoutActuallyEscaping(collect) { collect in
            let queue = TaskQueue(tasks, collect)
            let server = TaskServer(adapter, queue)
            server.start()
            do {
                while case let task = queue.next(), task >= 0 {
                    queue.collect(Int(task), try work(Int(task)))
                }
            } catch {
                queue.fail(error)
            }
            watchdog.watching("distribution of tasks") { server.wait() }
            queue.close()
            try queue.checkFailure()
        }
    }

    /// Another process: does the tasks that it is given.
    ///
    /// - Throws: what `work` throws; `PeerFailure` if another process fails.
    func work(_ work: (Int) throws -> [UInt8]) throws {
        var message = WorkerMessage.ready
        while true {
            send(message)
            let assignment = watchdog.watching("distribution of tasks") { receivedAssignment() }
            guard assignment >= 0 else {
                if assignment == Assignment.stop.rawValue { throw PeerFailure([]) }
                return
            }
            do {
                message = .result(task: Int(assignment), try work(Int(assignment)))
            } catch {
                send(.failed)
                throw error
            }
        }
    }

    private func send(_ message: WorkerMessage) {
        let bytes = message.bytes
        adapter.send(bytes, Int32(bytes.count), 0)
    }

    private func receivedAssignment() -> Int64 {
        while true {
            guard let (bytes, _) = adapter.nextMessage() else {
                Thread.sleep(forTimeInterval: 0.001)
                continue
            }
            return Int64(littleEndian: bytes.withUnsafeBytes { $0.loadUnaligned(as: Int64.self) })
        }
    }
}

/// The thread of process 0 that answers the other processes.
private final class TaskServer: @unchecked Sendable {
    private let adapter: bf_mpi_adapter
    private let queue: TaskQueue
    private let done = DispatchSemaphore(value: 0)

    init(_ adapter: bf_mpi_adapter, _ queue: TaskQueue) { (self.adapter, self.queue) = (adapter, queue) }

    func start() { Thread { [self] in serve() }.start() }

    /// Returns when every other process knows that there are no more tasks.
    func wait() { done.wait() }

    private func serve() {
        var working = adapter.size - 1
        while working > 0 {
            guard let (bytes, rank) = adapter.nextMessage() else {
                Thread.sleep(forTimeInterval: 0.001)
                continue
            }
            switch WorkerMessage(bytes) {
            case .failed:
                queue.fail(PeerFailure([]))
                working -= 1
                continue
            case .result(let task, let result): queue.collect(task, result)
            case .ready: break
            }
            let next = queue.next()
            withUnsafeBytes(of: next.littleEndian) { bytes in
                if let address = bytes.baseAddress { adapter.send(address, Int32(bytes.count), rank) }
            }
            if next < 0 { working -= 1 }
        }
        done.signal()
    }
}

extension bf_mpi_adapter {
    /// The next message that has arrived; nil for none.
    fileprivate func nextMessage() -> (bytes: [UInt8], rank: Int32)? {
        var rank: Int32 = 0
        let count = arrived(&rank)
        guard count >= 0 else { return nil }
        var bytes = [UInt8](repeating: 0, count: max(Int(count), 1))
        receive(&bytes, count, rank)
        return (Array(bytes.prefix(Int(count))), rank)
    }
}

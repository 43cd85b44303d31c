// SPDX-License-Identifier: Apache-2.0
// Tasks of different length for the processes of an MPI job. Process 0 hands them out in a thread of its own, so that
// no process waits until process 0 has finished its own task, and results are collected as soon as they exist.

import CMPIAdapter
import Foundation

/// What a process sends to process 0: it is ready, with or without a result, or it has failed.
enum WorkerMessage {
    case ready
    case result(task: Int, [UInt8])
    case failed
    /// The beginning of a result that is too long for one message; the next message of the process continues it.
    case part([UInt8])

    /// MPI counts the bytes of a message in 31 bits.
    static let longest = 1 << 30

    var bytes: [UInt8] {
        switch self {
        case .ready: [0]
        case .result(let task, let bytes): [1] + withUnsafeBytes(of: Int64(task).littleEndian, Array.init) + bytes
        case .failed: [2]
        case .part(let bytes): [3] + bytes
        }
    }

    init(_ bytes: [UInt8]) {
        switch bytes.first {
        case 0: self = .ready
        case 1 where bytes.count >= 9:
            let task = bytes.withUnsafeBytes { $0.loadUnaligned(fromByteOffset: 1, as: Int64.self) }
            self = .result(task: Int(Int64(littleEndian: task)), Array(bytes[9...]))
        case 3: self = .part(Array(bytes[1...]))
        default: self = .failed
        }
    }
}

/// What process 0 answers: the number of a task, or one of these.
enum Assignment: Int64 {
    case noMoreTasks = -1
    case stop = -2
    /// The next task may not be handed out yet: ask again.
    case later = -3
}

/// The tasks that are not handed out, shared by the two threads of process 0.
final class TaskQueue: @unchecked Sendable {
    typealias Collect = (_ task: Int, _ result: [UInt8]) throws -> Void

    private let lock = NSLock()
    private var tasks: ArraySlice<Int>
    /// The handed out tasks that are not collected, in the order of the tasks, and collected ones between them.
    private var open: ArraySlice<(task: Int, isDone: Bool)> = []
    private let ahead: Int
    private var failure: (any Error)?
    /// nil after `close`.
    private var collect: Collect?

    init(_ tasks: [Int], ahead: Int?, _ collect: @escaping Collect) {
        (self.tasks, self.ahead, self.collect) = (tasks[...], ahead ?? .max, collect)
    }

    /// The next task, or an assignment.
    func next() -> Int64 {
        lock.withLock {
            if failure != nil { return Assignment.stop.rawValue }
            guard let task = tasks.first else { return Assignment.noMoreTasks.rawValue }
            guard open.count < ahead else { return Assignment.later.rawValue }
            tasks = tasks.dropFirst()
            open.append((task, false))
            return Int64(task)
        }
    }

    /// Collects a result, unless there was a failure.
    func collect(_ task: Int, _ result: [UInt8]) {
        lock.withLock {
            guard failure == nil else { return }
            if let index = open.firstIndex(where: { $0.task == task }) { open[index].isDone = true }
            open = open.drop(while: \.isDone)
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
        _ tasks: [Int], ahead: Int?, work: (Int) throws -> [UInt8], collect: (Int, [UInt8]) throws -> Void
    ) throws {
        try withoutActuallyEscaping(collect) { collect in
            let queue = TaskQueue(tasks, ahead: ahead, collect)
            let server = TaskServer(adapter, watchdog, queue)
            server.start()
            do {
                while case let task = queue.next(), task >= 0 || task == Assignment.later.rawValue {
                    if task < 0 {
                        Thread.sleep(forTimeInterval: Self.pause)
                    } else {
                        queue.collect(Int(task), try work(Int(task)))
                    }
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
            if assignment == Assignment.later.rawValue {
                Thread.sleep(forTimeInterval: Self.pause)
                message = .ready
                continue
            }
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

    /// Seconds before a process asks again for a task.
    private static let pause = 0.02

    private func send(_ message: WorkerMessage) {
        guard case .result(let task, let bytes) = message, bytes.count > WorkerMessage.longest else {
            let bytes = message.bytes
            return adapter.send(bytes, Int32(bytes.count), 0)
        }
        send(.part(Array(bytes.prefix(WorkerMessage.longest))))
        send(.result(task: task, Array(bytes.dropFirst(WorkerMessage.longest))))
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
    private let watchdog: Watchdog
    private let queue: TaskQueue
    private let done = DispatchSemaphore(value: 0)

    init(_ adapter: bf_mpi_adapter, _ watchdog: Watchdog, _ queue: TaskQueue) {
        (self.adapter, self.watchdog, self.queue) = (adapter, watchdog, queue)
    }

    func start() { Thread { [self] in serve() }.start() }

    /// Returns when every other process knows that there are no more tasks.
    func wait() { done.wait() }

    private func serve() {
        var working = adapter.size - 1
        var parts: [Int32: [UInt8]] = [:]
        while working > 0 {
            guard let (bytes, rank) = adapter.nextMessage() else {
                Thread.sleep(forTimeInterval: 0.001)
                continue
            }
            let message = WorkerMessage(bytes)
            if case .part(let bytes) = message {
                parts[rank, default: []] += bytes
                continue
            }
            watchdog.taskEnded(by: rank)
            switch message {
            case .failed:
                queue.fail(PeerFailure([]))
                working -= 1
                continue
            case .result(let task, let result):
                queue.collect(task, (parts.removeValue(forKey: rank) ?? []) + result)
            case .ready, .part: break
            }
            let next = queue.next()
            if next >= 0 { watchdog.taskStarted(by: rank) }
            withUnsafeBytes(of: next.littleEndian) { bytes in
                if let address = bytes.baseAddress { adapter.send(address, Int32(bytes.count), rank) }
            }
            if next < 0, next != Assignment.later.rawValue { working -= 1 }
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

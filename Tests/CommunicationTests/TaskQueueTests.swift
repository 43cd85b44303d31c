// SPDX-License-Identifier: Apache-2.0
// The tasks of a distribution, as process 0 hands them out.

import Testing

@testable import Communication

@Suite struct TaskQueueTests {
    @Test("only some tasks behind a missing result are handed out")
    func ahead() {
        var collected: [Int] = []
        withoutActuallyEscaping({ task, _ in collected.append(task) }) { collect in
            let queue = TaskQueue([5, 3, 8, 1], ahead: 2, collect)
            #expect([queue.next(), queue.next(), queue.next()] == [5, 3, Assignment.later.rawValue])
            queue.collect(3, [])
            #expect(queue.next() == Assignment.later.rawValue)
            queue.collect(5, [])
            #expect([queue.next(), queue.next(), queue.next()] == [8, 1, Assignment.noMoreTasks.rawValue])
            queue.close()
        }
        #expect(collected == [3, 5])
    }

    @Test("after a failure no task is handed out and no result is collected")
    func failure() {
        var collected: [Int] = []
        withoutActuallyEscaping({ task, _ in collected.append(task) }) { collect in
            let queue = TaskQueue([1, 2], ahead: nil, collect)
            #expect(queue.next() == 1)
            queue.fail(PeerFailure([]))
            queue.collect(1, [])
            #expect(queue.next() == Assignment.stop.rawValue)
            #expect(throws: PeerFailure.self) { try queue.checkFailure() }
            queue.close()
        }
        #expect(collected.isEmpty)
    }

    @Test("messages are read as they were written")
    func messages() {
        for message in [
            WorkerMessage.ready, .result(task: 1 << 40, [1, 2]), .result(task: 0, []), .failed, .part([7]),
        ] {
            #expect("\(WorkerMessage(message.bytes))" == "\(message)")
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// What all communicators have in common. Threads of the test stand for processes.

import Communication
import TestKit
import Testing

@Suite struct CommunicatorTests {
    @Test("results are collected in the order of the tasks, all of them once", arguments: [1, 2, 3])
    func order(size: Int) throws {
        let tasks = [5, 3, 8, 1, 9, 2, 7]
        let collected = try ThreadCommunicator.run(size) { communicator in
            var collected: [[Int]] = []
            try communicator.distributeInOrder(tasks) { task in
                [UInt8(task * 10)]
            } collect: { task, result in
                collected.append([task, Int(result[0])])
            }
            return collected
        }
        #expect(collected[0] == tasks.map { [$0, 10 * $0] })
        #expect(collected.dropFirst().reduce(0) { $0 + $1.count } == 0)
    }

    @Test("all processes get the values of the first", arguments: [1, 2, 3])
    func broadcast(size: Int) throws {
        let values: [Float] = [1, -0.0, .infinity, 3.5]
        let found = try ThreadCommunicator.run(size) { communicator in
            try communicator.broadcast(communicator.isFirst ? values : nil)
        }
        #expect(found.allSatisfy { $0.map(\.bitPattern) == values.map(\.bitPattern) })
        let empty = try ThreadCommunicator.run(size) { try $0.broadcast($0.isFirst ? [] : nil) }
        #expect(empty.reduce(0) { $0 + $1.count } == 0)
    }
}

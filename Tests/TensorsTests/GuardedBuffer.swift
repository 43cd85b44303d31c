// SPDX-License-Identifier: Apache-2.0
// Memory between two inaccessible pages: a kernel that reads or writes past the end stops the process.

import Foundation
import Testing

@testable import Tensors

/// `count` floats that end at an inaccessible page; another inaccessible page is before them.
final class GuardedBuffer {
    /// The address of the first float.
    let pointer: UnsafeMutablePointer<Float>
    let count: Int
    private let mapping: UnsafeMutableRawPointer
    private let mappedBytes: Int
    private let slack: Int

    /// The values before the first float, to detect writes there.
    private static let canary: Float = 12345.5

    /// A buffer of `values`.
    init(_ values: [Float]) throws {
        let page = Int(sysconf(Int32(_SC_PAGESIZE)))
        let bytes = values.count * MemoryLayout<Float>.stride
        let pages = max((bytes + page - 1) / page, 1)
        mappedBytes = (pages + 2) * page
        let mapped = try #require(
            mmap(nil, mappedBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON, -1, 0))
        try #require(mapped != MAP_FAILED)
        try #require(mprotect(mapped, page, PROT_NONE) == 0)
        try #require(mprotect(mapped + (pages + 1) * page, page, PROT_NONE) == 0)
        mapping = mapped
        count = values.count
        slack = (pages * page - bytes) / MemoryLayout<Float>.stride
        let first = (mapped + page).bindMemory(to: Float.self, capacity: slack + count)
        first.update(repeating: Self.canary, count: slack)
        pointer = first + slack
        values.withUnsafeBufferPointer { source in
            if let base = source.baseAddress { pointer.update(from: base, count: count) }
        }
    }

    deinit { munmap(mapping, mappedBytes) }

    /// The floats; a write before them is reported.
    func values(sourceLocation: SourceLocation = #_sourceLocation) -> [Float] {
        let before = UnsafeBufferPointer(start: pointer - slack, count: slack)
        #expect(
            before.allSatisfy { $0 == Self.canary }, "wrote before \(count) elements",
            sourceLocation: sourceLocation)
        return Array(UnsafeBufferPointer(start: pointer, count: count))
    }
}

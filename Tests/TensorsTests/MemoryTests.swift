// SPDX-License-Identifier: Apache-2.0
// The memory pool and the parallel loop.

import Synchronization
import Testing

@testable import Tensors

@Suite(.serialized) struct MemoryTests {
    @Test("a size class has room for the requested bytes and wastes less than an eighth, or less than 64 bytes")
    func sizeClasses() {
        var bytes = 1
        while bytes < 1 << 34 {
            for wanted in [bytes - 1, bytes, bytes + 1] {
                let capacity = BlockPool.capacity(for: wanted)
                #expect(capacity >= wanted && capacity % 64 == 0)
                #expect(
                    Double(capacity - max(wanted, 1)) < max(Double(wanted) / 8, 64),
                    "\(wanted) bytes in \(capacity)")
                #expect(BlockPool.capacity(for: capacity) == capacity)
            }
            bytes = bytes * 3 / 2 + 1
        }
    }

    @Test("a freed block is reused")
    func reuse() {
        // A size that no other test uses, so that a concurrent test cannot take the block.
        let shape = [1_234_577]
        func address() -> UInt {
            Tensor.zeros(shape).withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) }
        }
        let first = address()
        #expect(first % 64 == 0)
        #expect((0..<5).allSatisfy { _ in address() == first })
    }

    @Test("a block is freed with its last tensor")
    func lifetime() {
        let shape = [1_434_581]
        func address(_ tensor: Tensor) -> UInt {
            tensor.withUnsafeBufferPointer { UInt(bitPattern: $0.baseAddress) }
        }
        var view: Tensor? = Tensor.zeros(shape).reshaped([1, -1])
        let held = view.map(address)
        let other = Tensor.zeros(shape)
        #expect(address(other) != held)
        view = nil
        #expect(address(Tensor.zeros(shape)) == held)
    }

    @Test("a training step frees all its memory")
    func noLeak() async {
        // In a separate process, so that tensors of other tests are not counted.
        await #expect(processExitsWith: .success) {
            let weight = Parameter("w", .ones([64, 32]))
            let input = Tensor.ones([100, 32])
            func step() {
                let loss = linear(input, weight: weight.tensor(), bias: nil).silu().square().mean()
                loss.backward()
                weight.gradient = nil
            }
            step()
            let before = BlockPool.shared.liveBytes
            for _ in 0..<10 { step() }
            // An unused tape is freed, too.
            for _ in 0..<10 { _ = linear(input, weight: weight.tensor(), bias: nil).silu() }
            precondition(BlockPool.shared.liveBytes == before, "memory is lost at every step")
            precondition(BlockPool.shared.peakLiveBytes > before, "the peak is not counted")
            precondition(BlockPool.shared.cachedBytes > 0, "no block is cached")
            BlockPool.shared.trim()
            precondition(BlockPool.shared.cachedBytes == 0, "trimming keeps blocks")
            step()
        }
    }

    @Test("blocks of unused sizes are returned to the system; blocks in use are not")
    func bounded() async {
        await #expect(processExitsWith: .success) {
            let pool = BlockPool.shared
            // 8 to 31 MiB, one after the other: 300 MiB in total if all were cached.
            for step in 0..<72 {
                _ = Tensor(unsafeUninitialized: [(8 + step % 24) << 18])
                let steady = Tensor(unsafeUninitialized: [1 << 20])
                precondition(steady.count == 1 << 20)
                let bound = pool.peakLiveBytes + pool.peakLiveBytes / 2 + 64 << 20
                precondition(pool.liveBytes + pool.cachedBytes <= bound, "step \(step) keeps too much")
            }
            precondition(pool.cachedBytes > 0, "no block is cached")
            let before = pool.allocations
            for _ in 0..<5 { _ = Tensor(unsafeUninitialized: [1 << 20]) }
            precondition(pool.allocations == before, "the block in use was given up")
        }
    }

    @Test("addition frees its operands before the backward pass")
    func additionKeepsNothing() async {
        await #expect(processExitsWith: .success) {
            let p = Parameter("p", .ones([1 << 20]))
            let before = BlockPool.shared.liveBytes
            var sum = p.tensor() + 1
            for _ in 0..<10 { sum = sum + Tensor.ones([1 << 20]) }
            // The result and at most a few operands: not all eleven.
            precondition(BlockPool.shared.liveBytes - before < 3 << 22, "operands of + are not freed")
            sum.sum().backward()
            precondition(p.gradient?[17] == 1, "wrong gradient")
        }
    }
}

/// Serialized, because the number of threads is a setting of the process.
@Suite(.serialized) struct ThreadsTests {
    @Test("every index is visited exactly once", arguments: [1, 2, 3, 7, 16])
    func coverage(threads: Int) {
        let before = Threads.count
        defer { Threads.count = before }
        Threads.count = threads
        for n in [0, 1, 2, 3, 7, 64, 100, 1001, 65_537] {
            for grain in [1, 2, 3, 64, 1000, 100_000] {
                let visits = Mutex([Int](repeating: 0, count: n))
                Threads.parallelFor(n, grain: grain) { range in
                    precondition(range.lowerBound % grain == 0, "a range starts off the grain")
                    visits.withLock { for i in range { $0[i] += 1 } }
                }
                #expect(visits.withLock { $0.allSatisfy { $0 == 1 } }, "n \(n), grain \(grain)")
            }
        }
    }

    @Test("nested loops finish")
    func nesting() {
        let before = Threads.count
        defer { Threads.count = before }
        Threads.count = 4
        let total = Atomic<Int>(0)
        Threads.parallelFor(20) { outer in
            for _ in outer {
                Threads.parallelFor(30) { inner in
                    Threads.parallelFor(2) {
                        _ = total.wrappingAdd($0.count * inner.count, ordering: .relaxed)
                    }
                }
            }
        }
        #expect(total.load(ordering: .relaxed) == 20 * 30 * 2)
    }

    @Test("random numbers are the same bits for one, two or three threads")
    func randomNumbers() {
        let before = Threads.count
        defer { Threads.count = before }
        let runs = [1, 2, 3].map { threads -> [Float] in
            Threads.count = threads
            var random = Philox(seed: 5, stream: 6)
            return random.normal([50_001]).values + random.uniform([50_001]).values
        }
        #expect(runs[0] == runs[1] && runs[0] == runs[2])
    }

    @Test("results are the same bits for any number of threads")
    func determinism() {
        let before = Threads.count
        defer { Threads.count = before }
        let x = normal([5, 6, 23, 19]), w = normal([7, 6, 3, 3], stream: 1), scale = normal([7], stream: 2)
        let runs = [1, 2, 3].map { threads -> [[Float]] in
            Threads.count = threads
            let parameters = [x, w, scale].enumerated().map { Parameter("p\($0.offset)", $0.element) }
            let y = conv2d(
                parameters[0].tensor(), weight: parameters[1].tensor(), bias: parameters[2].tensor(),
                padding: 1)
            let z = groupNorm(
                y, groups: 1, weight: parameters[2].tensor(), bias: parameters[2].tensor(), epsilon: 1e-5,
                silu: true)
            let loss = z.square().mean()
            loss.backward()
            return [z.values] + parameters.map { $0.gradient?.values ?? [] }
        }
        #expect(runs[0] == runs[1] && runs[0] == runs[2])
    }
}

// SPDX-License-Identifier: Apache-2.0
// Checkpointed parts: the same bits as without checkpointing, with less memory.

import Synchronization
import Testing

@testable import Tensors

@Suite struct CheckpointingTests {
    private typealias Part = ([Tensor], @escaping ([Tensor]) -> [Tensor]) -> [Tensor]

    /// A small network: two parts of two results each, with skips into and around the second part, an input that both
    /// share, and a loss on all results. Sums of gradients have at least three terms, so that their order affects the
    /// bits.
    private func network(_ parameters: [Parameter], _ x: Tensor, _ part: Part) -> Tensor {
        let shared = parameters[0].tensor() * 0.3
        let first = part([x * parameters[1].tensor(), shared]) { given in
            let hidden = linear(given[0], weight: parameters[2].tensor(), bias: parameters[3].tensor()).silu()
            let again = (hidden + given[1]) * given[1]
            return [hidden, (again + hidden).gelu()]
        }
        let second = part([first[1], first[0], shared]) { given in
            let joined = Tensor.concatenated([given[0], given[1]], axis: 1)
            let narrow = linear(joined, weight: parameters[4].tensor(), bias: nil) + given[2]
            return [narrow.silu() + given[1], narrow]
        }
        let all = first + second + [shared]
        return all.dropFirst().reduce(all[0].square().mean()) { $0 + $1.square().mean() * 0.7 }
    }

    private func parameters() -> [Parameter] {
        let shapes = [[5, 8], [8], [8, 8], [8], [8, 16]]
        return shapes.enumerated().map {
            Parameter("p\($0.offset)", normal($0.element, stream: UInt64($0.offset)))
        }
    }

    private func bits(_ part: Part) -> [[UInt32]] {
        let parameters = parameters()
        let loss = network(parameters, normal([5, 8], stream: 9), part)
        loss.backward()
        return ([loss] + parameters.compactMap(\.gradient)).map { $0.values.map(\.bitPattern) }
    }

    @Test("loss and gradients are bit-identical, also for nested parts")
    func bitEqual() {
        let plain = bits { $1($0) }
        #expect(plain.count == 6)
        #expect(bits { checkpointed($0, $1) } == plain)
        #expect(bits { inputs, body in checkpointed(inputs) { checkpointed($0, body) } } == plain)
    }

    @Test("parameters are on the tape in both runs")
    func sameRecording() {
        let p = Parameter("p", .ones([3]))
        let recorded = Mutex<[Bool]>([])
        let result = checkpointed([p.tensor()]) { given in
            recorded.withLock { $0 += [given[0].requiresGradient, p.tensor().requiresGradient] }
            return [given[0] * p.tensor()]
        }
        result[0].sum().backward()
        #expect(recorded.withLock { $0 } == [true, true, true, true])
    }

    @Test("two passes through the same parts accumulate gradients")
    func accumulates() {
        func twice(_ part: Part) -> [[Float]] {
            let parameters = parameters()
            for stream in [UInt64(9), 10] {
                network(parameters, normal([5, 8], stream: stream), part).backward()
            }
            return parameters.map { $0.gradient?.values ?? [] }
        }
        #expect(twice { checkpointed($0, $1) } == twice { $1($0) })
    }

    @Test("a part runs once forward and once backward, and not again if no gradient arrives")
    func runs() {
        let runs = Atomic<Int>(0)
        let p = Parameter("p", .ones([3]))
        func part(_ x: Tensor) -> Tensor {
            checkpointed([x]) {
                runs.add(1, ordering: .relaxed)
                return [$0[0] * p.tensor()]
            }[0]
        }
        let used = part(.ones([3]))
        #expect(runs.load(ordering: .relaxed) == 1)
        _ = part(.ones([3]))
        used.sum().backward()
        #expect(runs.load(ordering: .relaxed) == 3)
        #expect(p.gradient?.values == [1, 1, 1])
        withoutGradients { #expect(!part(.ones([3])).requiresGradient) }
        #expect(runs.load(ordering: .relaxed) == 4)
    }

    @Test("results without effect on the loss, inputs returned unchanged and frozen parameters are supported")
    func partial() {
        let (p, frozen) = (Parameter("p", .full([2], 3)), Parameter("f", .full([2], 5), isTrainable: false))
        let x = p.tensor() * 2
        let results = checkpointed([x]) { [$0[0], $0[0] * frozen.tensor(), frozen.tensor().square()] }
        (results[0] + results[1]).sum().backward()
        #expect(results.map(\.requiresGradient) == [true, true, false])
        #expect(p.gradient?.values == [12, 12])
        #expect(frozen.gradient == nil)
        p.gradient = nil
        let constant = checkpointed([p.tensor()]) { _ in [frozen.tensor().square()] }
        #expect(!constant[0].requiresGradient)
    }

    @Test("a part saves only its inputs until the backward pass")
    func memory() async {
        await #expect(processExitsWith: .success) {
            let n = 1 << 18, bytes = 4 * n
            let p = Parameter("p", .ones([n]))
            func chain(_ x: Tensor) -> Tensor { (0..<8).reduce(x) { value, _ in value.silu() } }
            func held(_ body: () -> Tensor) -> Int {
                let before = BlockPool.shared.liveBytes
                var result: Tensor? = body()
                let held = BlockPool.shared.liveBytes - before
                result?.sum().backward()
                (result, p.gradient) = (nil, nil)
                precondition(BlockPool.shared.liveBytes == before, "memory is lost")
                return held
            }
            let plain = held { chain(p.tensor() * p.tensor()) }
            let lean = held { checkpointed([p.tensor() * p.tensor()]) { [chain($0[0])] }[0] }
            precondition(plain >= 9 * bytes, "a tape keeps what it needs")
            precondition(lean < 3 * bytes, "a checkpointed part keeps \(lean) bytes")
        }
    }

    @Test("a second backward pass traps, also through another result of the same part")
    func secondUse() async {
        await #expect(processExitsWith: .failure) {
            let p = Parameter("p", .ones([2]))
            let results = checkpointed([p.tensor()]) { [$0[0] * 2, $0[0] * 3] }
            results[0].sum().backward()
            results[1].sum().backward()
        }
    }

    @Test("a part whose second run gives other shapes traps")
    func unsteady() async {
        await #expect(processExitsWith: .failure) {
            let calls = Atomic<Int>(0)
            let p = Parameter("p", .ones([2]))
            let result = checkpointed([p.tensor()]) { given in
                let call = calls.add(1, ordering: .relaxed).newValue
                return [call == 1 ? given[0] : given[0].sum()]
            }
            result[0].sum().backward()
        }
    }
}

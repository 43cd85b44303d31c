// SPDX-License-Identifier: Apache-2.0
// The rules of the tape: what is recorded, what accumulates, what traps.

import TestKit
import Testing

@testable import Tensors

@Suite struct TapeTests {
    @Test("a tape can be used once: the second backward traps")
    func secondUse() async {
        await #expect(processExitsWith: .failure) {
            let p = Parameter("p", .ones([2]))
            let loss = (p.tensor() * 2).sum()
            loss.backward()
            loss.backward()
        }
    }

    @Test("a second backward pass through a shared part traps")
    func sharedPart() async {
        await #expect(processExitsWith: .failure) {
            let p = Parameter("p", .ones([2]))
            let shared = p.tensor() * 2
            let (first, second) = (shared.sum(), shared.square().sum())
            first.backward()
            second.backward()
        }
    }

    @Test("a gradient that another tensor shares keeps its values")
    func heldGradients() {
        let p = Parameter("p", normal([2, 6, 5])), ones = Tensor.ones([6]), five = Tensor.ones([5])
        let operations: [(Tensor) -> Tensor] = [
            { $0.silu() }, { $0.softmax() }, { layerNorm($0, weight: five, bias: nil) },
            { groupNorm($0, groups: 2, weight: ones, bias: ones, epsilon: 1e-5, silu: true) },
        ]
        for operation in operations {
            let given = normal([2, 6, 5], stream: 1), values = given.values
            operation(p.tensor()).backward(given)
            #expect(given.values == values)
            let alone = p.gradient?.values
            p.gradient = nil
            // The same gradient, computed by the tape and not shared.
            (operation(p.tensor()) * given).sum().backward()
            #expect(p.gradient?.values == alone)
            p.gradient = nil
        }
    }

    @Test("withoutGradients records nothing, and recording resumes after it")
    func off() {
        let p = Parameter("p", .ones([2]))
        let inside = withoutGradients { p.tensor() * 2 }
        #expect(!inside.requiresGradient)
        inside.backward()
        #expect(p.gradient == nil)
        #expect((p.tensor() * 2).requiresGradient)
    }

    @Test("frozen parameters get no gradient, and operations on them alone are not recorded")
    func frozen() {
        let frozen = Parameter("frozen", .full([2], 3), isTrainable: false)
        let trained = Parameter("trained", .full([2], 5))
        #expect(!(frozen.tensor() * 2).requiresGradient)
        (frozen.tensor() * trained.tensor()).sum().backward()
        #expect(frozen.gradient == nil)
        #expect(trained.gradient?.values == [3, 3])
    }

    @Test("a parameter used twice gets the sum of both uses")
    func usedTwice() {
        let p = Parameter("p", Tensor([1, 2, 3], shape: [3]))
        (p.tensor() * p.tensor()).sum().backward()
        #expect(p.gradient?.values == [2, 4, 6])
        p.gradient = nil
        let once = p.tensor()
        (once * once + once).sum().backward()
        #expect(p.gradient?.values == [3, 5, 7])
    }

    @Test("gradients accumulate over two backward passes")
    func accumulation() {
        let p = Parameter("p", Tensor([1, 2, 3], shape: [3]))
        p.tensor().square().sum().backward()
        (p.tensor() * 10).sum().backward()
        #expect(p.gradient?.values == [12, 14, 16])
    }

    @Test("accumulating into one of two parameters with a shared gradient does not change the other")
    func noAliasing() {
        let (p, q) = (Parameter("p", .ones([3])), Parameter("q", .ones([3])))
        (p.tensor() + q.tensor()).sum().backward()
        p.tensor().sum().backward()
        #expect(p.gradient?.values == [2, 2, 2])
        #expect(q.gradient?.values == [1, 1, 1])
    }

    @Test("detached values get no gradient")
    func detaching() {
        let p = Parameter("p", .full([2], 3))
        (p.tensor().detached() * p.tensor()).sum().backward()
        #expect(p.gradient?.values == [3, 3])
        #expect(!p.tensor().detached().requiresGradient)
    }

    @Test("a given gradient weights the result")
    func weighted() {
        let p = Parameter("p", .ones([2]))
        (p.tensor() * 2).backward(Tensor([10, 100], shape: [2]))
        #expect(p.gradient?.values == [20, 200])
    }

    @Test("a gradient of another shape traps")
    func wrongShape() async {
        await #expect(processExitsWith: .failure) {
            (Parameter("p", .ones([2])).tensor() * 2).backward(.ones([3]))
        }
    }

    @Test("a custom operation propagates its gradients, which may be nil")
    func custom() {
        let (p, q) = (Parameter("p", .ones([2])), Parameter("q", .ones([2])))
        let result = Tensor.custom("own", inputs: [p.tensor(), q.tensor()], output: .zeros([2])) {
            [$0 * 7, nil]
        }
        result.sum().backward()
        #expect(p.gradient?.values == [7, 7])
        #expect(q.gradient == nil)
    }

    @Test("the tape of a long chain is freed without stack overflow")
    func longChain() {
        let p = Parameter("p", .ones([1]))
        var x = p.tensor()
        for _ in 0..<20_000 { x = x + 1 }
        x.backward()
        #expect(p.gradient?.values == [1])
    }
}

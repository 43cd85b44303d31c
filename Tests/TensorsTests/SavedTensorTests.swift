// SPDX-License-Identifier: Apache-2.0
// Operands that are made again instead of kept, and gradients that are written over instead of copied.

import TestSupport
import Testing

@testable import Tensors

@Suite struct SavedTensorTests {
    private func address(_ tensor: Tensor?) -> UnsafeRawPointer? {
        tensor?.withUnsafeBufferPointer { UnsafeRawPointer($0.baseAddress) }
    }

    @Test("a tensor that can be made again is not kept, any other one is")
    func keeping() async {
        await #expect(processExitsWith: .success) {
            let before = BlockPool.shared.liveBytes
            var tensor: Tensor? = .ones([1 << 20])
            let kept = tensor.map { SavedTensor($0) }
            tensor = tensor?.remade { .full([1 << 20], 2) }
            let remade = tensor.map { SavedTensor($0) }
            tensor = nil
            precondition(BlockPool.shared.liveBytes - before == 4 << 20, "one of the two is kept")
            precondition(kept?.values()[5] == 1 && remade?.values()[5] == 2, "wrong values")
            precondition(remade?.shape == [1 << 20])
        }
    }

    @Test("values are made off the tape, and nothing is remembered where there is no tape")
    func offTape() {
        let p = Parameter("p", .ones([2]))
        let saved = SavedTensor(p.tensor().remade { p.tensor() })
        #expect(!saved.values().requiresGradient)
        withoutGradients { #expect(Tensor.ones([2]).remade { .zeros([2]) }.remake == nil) }
        #expect(Tensor.ones([2]).remade { .zeros([2]) }.detached().remake == nil)
    }

    @Test("half-precision weights can be made again")
    func halves() {
        let weight = HalfWeight(name: "w", bits: [0x3f80, 0x4000, 0xc040], shape: [3], type: .bfloat16)
        #expect(weight.tensor().remake?().values == [1, 2, -3])
    }

    @Test("a backward pass may write over the gradient that only it holds, and over no other")
    func inPlace() throws {
        func run(holding: Bool) -> (same: Bool, held: [Float]?, gradient: [Float]?) {
            let p = Parameter("p", .ones([4]))
            var (from, held): (UnsafeRawPointer?, Tensor?)
            let doubled = Tensor.customInPlace("double", inputs: [p.tensor()], output: p.value * 2) {
                gradient in
                guard gradient.isUniquelyOwned() else { return [gradient * 2] }
                gradient.withUnsafeMutableBufferPointer { for index in $0.indices { $0[index] *= 2 } }
                return [gradient]
            }
            let top = Tensor.custom("top", inputs: [doubled], output: Tensor(scalar: 0)) { _ in
                let gradient = Tensor([1, 2, 3, 4], shape: [4])
                from = address(gradient)
                held = holding ? gradient : nil
                return [gradient]
            }
            top.backward()
            return (address(p.gradient) == from, held?.values, p.gradient?.values)
        }
        let free = run(holding: false)
        #expect(free.same)
        #expect(free.gradient == [2, 4, 6, 8])
        let shared = run(holding: true)
        #expect(!shared.same)
        #expect(shared.held == [1, 2, 3, 4])
        #expect(shared.gradient == [2, 4, 6, 8])
    }

    @Test("gradients add up in place, except where somebody holds the sum so far")
    func accumulation() {
        let p = Parameter("p", .ones([3]))
        p.tensor().square().sum().backward()
        let first = address(p.gradient)
        p.tensor().square().sum().backward()
        #expect(address(p.gradient) == first)
        #expect(p.gradient?.values == [4, 4, 4])
        let held = p.gradient
        p.tensor().square().sum().backward()
        #expect(held?.values == [4, 4, 4])
        #expect(p.gradient?.values == [6, 6, 6])
    }
}

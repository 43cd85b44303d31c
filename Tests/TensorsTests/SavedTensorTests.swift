// SPDX-License-Identifier: Apache-2.0
// Operands that are recomputed instead of saved, and gradients that are overwritten instead of copied.

import TestKit
import Testing

@testable import Tensors

@Suite struct SavedTensorTests {
    private func address(_ tensor: Tensor?) -> UnsafeRawPointer? {
        tensor?.withUnsafeBufferPointer { UnsafeRawPointer($0.baseAddress) }
    }

    @Test("the values of lazy tensors are not saved, those of other tensors are")
    func keeping() async {
        await #expect(processExitsWith: .success) {
            let before = BlockPool.shared.liveBytes
            var tensor: Tensor? = .ones([1 << 20])
            let kept = tensor.map { SavedTensor($0) }
            tensor = Tensor([1 << 10, 1 << 10]) { rows, values in
                values.update(repeating: 2, count: rows.count << 10)
            }
            let again = tensor.map { SavedTensor($0.materialized()) }
            tensor = nil
            precondition(BlockPool.shared.liveBytes - before == 4 << 20, "expected one saved tensor")
            precondition(kept?.values()[5] == 1 && again?.values()[5] == 2, "wrong values")
            precondition(again?.shape == [1 << 10, 1 << 10])
        }
    }

    @Test("a backward function overwrites a gradient only if it owns the memory")
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

    @Test("gradients accumulate in place unless the memory is shared")
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

// SPDX-License-Identifier: Apache-2.0
// Mutable arrays of 16-bit floats.

import Checkpoints
import Testing

@testable import Tensors

@Suite struct Tensor16Tests {
    @Test(
        "values are rounded to nearest even and converted back exactly",
        arguments: [ElementType.float16, .bfloat16])
    func roundTrip(type: ElementType) {
        for shape in [[3, 7], [1], [0], [100_003]] {
            let half = Tensor16(zeros: shape, type: type)
            #expect(half.widened().values == [Float](repeating: 0, count: half.count))
            let values = normal(shape)
            half.assign(values)
            let bits = values.withUnsafeBufferPointer { Float16Bits.encode($0, type) }
            #expect(
                half.widened().values
                    == Weight16(name: "w", bits: bits, shape: shape, type: type).tensor().values)
            let kept = half.widened()
            half.assign(kept)
            #expect(half.widened().values == kept.values, "representable values come back bit by bit")
        }
    }

    @Test("16-bit values take half the memory and free it")
    func memory() async {
        await #expect(processExitsWith: .success) {
            let before = BlockPool.shared.liveBytes
            var half: Tensor16? = Tensor16(zeros: [1 << 20], type: .bfloat16)
            precondition(BlockPool.shared.liveBytes - before == 2 << 20)
            half?.pointer[0] = 0x3f80
            half = nil
            precondition(BlockPool.shared.liveBytes == before)
        }
    }

    @Test("values of another shape trap")
    func wrongShape() async {
        await #expect(processExitsWith: .failure) {
            Tensor16(zeros: [2, 3], type: .bfloat16).assign(.ones([3, 2]))
        }
    }
}

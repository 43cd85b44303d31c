// SPDX-License-Identifier: Apache-2.0
// The contrastive loss: its formula in double precision, limits and gradients.

import Foundation
import Tensors
import TestKit
import Testing

@testable import QAT
@testable import ShapesWorld

@Suite(.tags(.gradient)) struct ContrastiveLossTests {
    private let images: Tensor
    private let captions: Tensor
    private let hardNegatives: Tensor
    /// Images 0 and 2 match each other's captions.
    private let mayMatch = [true, false, true, false, true, false, true, false, true]

    init() {
        var random = Philox(seed: 11)
        images = random.normal([3, 4]).l2Normalized()
        captions = random.normal([3, 4]).l2Normalized()
        hardNegatives = random.normal([6, 4]).l2Normalized()
    }

    /// The documented formula, term by term.
    private func reference(scale: Double, usesHardNegatives: Bool) -> Double {
        func cosine(_ a: Tensor, _ i: Int, _ b: Tensor, _ j: Int) -> Double {
            (0..<4).reduce(0) { $0 + Double(a[i * 4 + $1]) * Double(b[j * 4 + $1]) }
        }
        var total = 0.0
        for i in 0..<3 {
            let candidates = (0..<3).filter { $0 == i || !mayMatch[i * 3 + $0] }
            var row = candidates.map { exp(scale * cosine(images, i, captions, $0)) }
            if usesHardNegatives {
                row += [2 * i, 2 * i + 1].map { exp(scale * cosine(images, i, hardNegatives, $0)) }
            }
            let column = candidates.map { exp(scale * cosine(images, $0, captions, i)) }
            let matching = scale * cosine(images, i, captions, i)
            total += log(row.reduce(0, +)) + log(column.reduce(0, +)) - 2 * matching
        }
        return total / 6
    }

    @Test("the loss is the documented formula", arguments: [true, false])
    func formula(usesHardNegatives: Bool) {
        let loss = contrastiveLoss(
            images: images, captions: captions, hardNegatives: usesHardNegatives ? hardNegatives : nil,
            scale: Tensor([5], shape: [1]), mayMatch: mayMatch)
        expectClose(
            [loss.item], [reference(scale: 5, usesHardNegatives: usesHardNegatives)], .float32Golden)
    }

    @Test("gradients of all inputs and of the scale agree with finite differences") func gradients() {
        checkGradients([images, captions, hardNegatives, Tensor([2], shape: [1])]) { inputs in
            contrastiveLoss(
                images: inputs[0], captions: inputs[1], hardNegatives: inputs[2], scale: inputs[3],
                mayMatch: mayMatch)
        }
    }

    @Test("the loss is 0 for separated pairs, and the logarithm of their number for identical ones")
    func limits() {
        let separated = Tensor([1, 0, 0, 1], shape: [2, 2])
        let noMatches = [false, false, false, false]
        let none = contrastiveLoss(
            images: separated, captions: separated, hardNegatives: nil, scale: Tensor([100], shape: [1]),
            mayMatch: noMatches)
        #expect(none.item == 0)
        let same = Tensor([1, 0, 1, 0], shape: [2, 2])
        let chance = contrastiveLoss(
            images: same, captions: same, hardNegatives: nil, scale: Tensor([100], shape: [1]),
            mayMatch: noMatches)
        expectClose([chance.item], [log(2.0)], .float32Golden)
    }

    @Test("pairs that match each other do not contribute to the loss") func duplicates() {
        let same = Tensor([1, 0, 1, 0], shape: [2, 2])
        let loss = contrastiveLoss(
            images: same, captions: same, hardNegatives: nil, scale: Tensor([100], shape: [1]),
            mayMatch: [true, true, true, true])
        #expect(loss.item == 0)
    }
}

// SPDX-License-Identifier: Apache-2.0
// The Fréchet distance, compared with NumPy and with closed forms.

import Tensors
import TestKit
import Testing

@testable import Evaluation

@Suite(.tags(.golden)) struct FrechetDistanceTests {
    @Test("covariance and distance agree with NumPy") func reference() throws {
        let numbers = try EvaluationReferences.load()
        let (a, b) = numbers.featureTensors
        expectClose(GaussianFit(a).covariance, numbers.covarianceA)
        // The square roots of the smallest eigenvalues have half of their digits.
        expectClose([frechetDistance(features: a, reference: b)], [numbers.frechet], within: 1e-9)
    }

    @Test("the distance is symmetric") func symmetric() throws {
        let (a, b) = try EvaluationReferences.load().featureTensors
        expectClose(
            [frechetDistance(features: a, reference: b)], [frechetDistance(features: b, reference: a)],
            within: 1e-9)
    }

    @Test("the distance of shifted features is the squared length of the shift") func shifted() throws {
        let (a, _) = try EvaluationReferences.load().featureTensors
        let shift = Tensor([1, -2, 0, 0.5, 3, 0], shape: [6])
        // The shifted features are rounded to Float32.
        expectClose([frechetDistance(features: a + shift, reference: a)], [14.25], within: 1e-5)
    }

    @Test("the distance of features to themselves is 0") func itself() throws {
        let (a, _) = try EvaluationReferences.load().featureTensors
        #expect(abs(frechetDistance(features: a, reference: a)) < 1e-9)
    }

    @Test("the distance of centered features to three times themselves is 4 tr Σ") func stretched() throws {
        let (a, _) = try EvaluationReferences.load().featureTensors
        let centered = a - a.mean(axes: [0], keepDims: true)
        let fit = GaussianFit(centered)
        let trace = (0..<6).reduce(0) { $0 + fit.covariance[$1 * 7] }
        expectClose([frechetDistance(features: centered * 3, reference: centered)], [4 * trace], within: 1e-5)
    }

    @Test("the distance of fewer features than dimensions is finite") func singular() throws {
        let (a, b) = try EvaluationReferences.load().featureTensors
        let few = frechetDistance(
            features: a.sliced(axis: 0, 0..<3), reference: b.sliced(axis: 0, 0..<4))
        #expect(few.isFinite && few > 0)
    }

    @Test("a feature that is not finite makes the distance NaN") func notANumber() throws {
        let (a, b) = try EvaluationReferences.load().featureTensors
        var values = a.values
        values[8] = .infinity
        #expect(frechetDistance(features: Tensor(values, shape: a.shape), reference: b).isNaN)
    }
}

@Suite struct SymmetricEigenTests {
    @Test("the decomposition of a 2x2 matrix is the exact one") func byHand() {
        let eigen = SymmetricEigen([2, 1, 1, 2], order: 2)
        expectClose(eigen.values, [1, 3])
        let half = 0.5.squareRoot()
        expectClose(eigen.vectors.map(abs), [half, half, half, half])
        #expect(eigen.vectors[0] * eigen.vectors[1] < 0)
        #expect(eigen.vectors[2] * eigen.vectors[3] > 0)
    }

    @Test(
        "the matrix is the product of its factors, and the square of its square root", arguments: [1, 5, 40])
    func rebuilt(order: Int) {
        var random = Philox(seed: 5, stream: UInt64(order))
        let root = random.normal([order, order])
        let product = matmul(root, root, transposeB: true).values.map(Double.init)
        // Float32 products are symmetric up to rounding only.
        let matrix = product.indices.map { (product[$0] + product[$0 % order * order + $0 / order]) / 2 }
        let eigen = SymmetricEigen(matrix, order: order)
        #expect(eigen.values == eigen.values.sorted())
        expectClose(eigen.matrix { $0 }, matrix)
        let half = Tensor(
            eigen.matrix { max($0, 0).squareRoot() }.map(Float.init), shape: [order, order])
        expectClose(matmul(half, half).values.map(Double.init), matrix, within: 1e-4)
    }
}

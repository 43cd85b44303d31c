// SPDX-License-Identifier: Apache-2.0
// The reference values from NumPy. Fixture: python Tests/Fixtures/make_evaluation_references.py.

import Foundation
import Tensors
import Testing

@testable import Evaluation

struct EvaluationReferences: Decodable {
    let images, reference: [Float]
    let imageShape: [Int]
    let imageErrors: [Double]
    let psnrRange2: Double
    let featuresA, featuresB: [Float]
    let featureDimension: Int
    let covarianceA: [Double]
    let frechet: Double
    let xs: [Double]
    let standardError: Double
    let timesteps: [Int]
    let epsilonSampleErrors, velocitySampleErrors: [Double]

    static func load() throws -> EvaluationReferences {
        let url = try #require(
            Bundle.module.url(
                forResource: "evaluation-references", withExtension: "json", subdirectory: "Fixtures"))
        return try JSONDecoder().decode(EvaluationReferences.self, from: Data(contentsOf: url))
    }

    var imageTensor: Tensor { Tensor(images, shape: imageShape) }
    var referenceTensor: Tensor { Tensor(reference, shape: imageShape) }
    var featureTensors: (a: Tensor, b: Tensor) {
        (
            Tensor(featuresA, shape: [featuresA.count / featureDimension, featureDimension]),
            Tensor(featuresB, shape: [featuresB.count / featureDimension, featureDimension])
        )
    }
}

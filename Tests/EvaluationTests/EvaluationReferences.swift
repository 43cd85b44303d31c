// SPDX-License-Identifier: Apache-2.0
// The reference values that Tests/Fixtures/make_evaluation_references.py wrote, and the comparison with them.

import Foundation
import Tensors
import Testing

struct EvaluationReferences: Decodable {
    let images, reference: [Float]
    let imageShape: [Int]
    let imageErrors: [Double]
    let psnrRange2: Double
    let featuresA, featuresB: [Float]
    let featureWidth: Int
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
            Tensor(featuresA, shape: [featuresA.count / featureWidth, featureWidth]),
            Tensor(featuresB, shape: [featuresB.count / featureWidth, featureWidth])
        )
    }
}

/// Relative error of a result that took a few hundred double-precision operations.
let doubleTolerance = 1e-11

/// Expects |value - reference| <= tolerance (1 + |reference|), element by element.
func expectClose(
    _ values: [Double], _ references: [Double], within tolerance: Double = doubleTolerance,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(values.count == references.count, sourceLocation: sourceLocation)
    for (index, (value, reference)) in zip(values, references).enumerated() {
        #expect(
            abs(value - reference) <= tolerance * (1 + abs(reference)),
            "element \(index): \(value), reference \(reference)", sourceLocation: sourceLocation)
    }
}

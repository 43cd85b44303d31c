// SPDX-License-Identifier: Apache-2.0
// How packed models compute: the option of all commands that run one.

import ArgumentParser
import BitsFusion

extension ActivationType: ExpressibleByArgument {}

struct ActivationArguments: ParsableArguments {
    @Option(
        help: """
            What the layers of a packed model round their inputs to: int8, for integer products, or fp32, nothing. Other \
            models compute in float32 always.
            """)
    var activations = ActivationType.int8

    func apply(to pipeline: DiffusionPipeline) { pipeline.activations = activations }
}

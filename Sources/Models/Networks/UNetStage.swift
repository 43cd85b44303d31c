// SPDX-License-Identifier: Apache-2.0
// The stages of a UNet's forward pass: what gradient checkpointing wraps, and where an analysis continues with one
// layer changed. Blocks hand out their stages as closures, which `UNet2DConditionModel.run` calls in order.

import Layers
import Tensors

/// One stage: a residual block with the transformer behind it, or a convolution between them.
struct UNetStage {
    /// The paths of its parts. A layer belongs to the stage where one of them is its path or a prefix of it.
    let paths: [String]
    /// The kind of block that ends with this stage; nil where none ends.
    var ending: BlockFeatures.Kind?
    let run: (inout DenoiserState, DenoiserConditioning, GradientCheckpointing) -> Void

    init(
        _ paths: [String], _ run: @escaping (inout DenoiserState, DenoiserConditioning, GradientCheckpointing) -> Void
    ) {
        (self.paths, self.run) = (paths, run)
    }

    func contains(_ layer: String) -> Bool { paths.contains { layer == $0 || layer.hasPrefix($0 + ".") } }
}

extension [UNetStage] {
    /// These stages, the last of which ends a block.
    func ending(_ ending: BlockFeatures.Kind) -> [UNetStage] {
        var stages = self
        if !stages.isEmpty { stages[count - 1].ending = ending }
        return stages
    }
}

/// A residual block with the transformer behind it, if there is one.
struct ResidualPair {
    let resnet: ResnetBlock2D
    let attention: Transformer2DModel?

    var paths: [String] { [resnet.path] + (attention.map { [$0.path] } ?? []) }

    /// `inputs`, joined along the channels, through both.
    func callAsFunction(
        _ inputs: [Tensor], _ conditioning: DenoiserConditioning, _ checkpointing: GradientCheckpointing
    ) -> Tensor {
        checkpointing.run(inputs, conditioning) { inputs, conditioning in
            let hidden = resnet(inputs.count == 1 ? inputs[0] : .concatenated(inputs, axis: 1), conditioning)
            guard let attention else { return hidden }
            guard let context = conditioning.context else {
                preconditionFailure("UNet with cross-attention: encoderHiddenStates must be given")
            }
            return attention(hidden, context: context)
        }
    }
}

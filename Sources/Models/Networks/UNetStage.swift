// SPDX-License-Identifier: Apache-2.0
// The parts that a forward pass goes through one after another, and where it is between two of them: what gradient
// checkpointing wraps, and from where an analysis goes on with one layer changed.

import Layers
import Tensors

/// Where a forward pass is between two stages. A copy costs nothing: tensors are shared.
public struct UNetState {
    /// The output of the last stage: at the start the sample, at the end the prediction; `[B, C, H, W]`.
    public internal(set) var hidden: Tensor
    /// Skip connections that wait for the way up.
    var skips: [Tensor] = []

    /// The bytes of its tensors, each counted once.
    public var bytes: Int {
        // The last skip connection is often the hidden tensor itself.
        let isShared = skips.last.map { $0.sharesMemory(with: hidden) } ?? false
        let counts = skips.map(\.count) + (isShared ? [] : [hidden.count])
        return counts.reduce(0, +) * MemoryLayout<Float>.stride
    }

    /// The same, off the tape.
    public var detached: UNetState {
        UNetState(hidden: hidden.detached(), skips: skips.map { $0.detached() })
    }
}

/// What all stages of one forward pass depend on beside the state.
public struct UNetConditioning {
    let time: TimeConditioning
    /// `[B, T, D]`.
    let context: Tensor?
}

/// One stage: a residual block with the transformer behind it, or a convolution between them.
struct UNetStage {
    /// What a stage ends, where it ends a block whose output features are collected from.
    enum Ending { case down, mid, up }

    /// The paths of its parts: a layer belongs to the stage where one of them is its path or leads to it.
    let paths: [String]
    var ending: Ending?
    let run: (inout UNetState, UNetConditioning, GradientCheckpointing) -> Void

    init(
        _ paths: [String], _ run: @escaping (inout UNetState, UNetConditioning, GradientCheckpointing) -> Void
    ) {
        (self.paths, self.run) = (paths, run)
    }

    func contains(_ layer: String) -> Bool { paths.contains { layer == $0 || layer.hasPrefix($0 + ".") } }
}

extension [UNetStage] {
    /// These stages, the last of which ends a block.
    func ending(_ ending: UNetStage.Ending) -> [UNetStage] {
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
        _ inputs: [Tensor], _ conditioning: UNetConditioning, _ checkpointing: GradientCheckpointing
    ) -> Tensor {
        checkpointing.run(inputs, conditioning.time, context: conditioning.context) { inputs, time, context in
            let hidden = resnet(inputs.count == 1 ? inputs[0] : .concatenated(inputs, axis: 1), time)
            guard let attention else { return hidden }
            guard let context else {
                preconditionFailure("UNet with cross-attention: encoderHiddenStates must be given")
            }
            return attention(hidden, context: context)
        }
    }
}

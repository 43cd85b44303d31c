// SPDX-License-Identifier: Apache-2.0
// The names of a UNet's tensors in the original repositories ("LDM") and in diffusers. With L layers per block:
//
//     input_blocks.I.0    down_blocks.B.resnets.l, B = (I - 1) / (L + 1), l = (I - 1) % (L + 1), or a downsampler .op
//     input_blocks.I.1    down_blocks.B.attentions.l
//     middle_block.0/1/2  mid_block.resnets.0, mid_block.attentions.0, mid_block.resnets.1
//     output_blocks.I.0   up_blocks.B.resnets.l, B = I / (L + 1), l = I % (L + 1)
//     output_blocks.I.1   up_blocks.B.attentions.l, or the upsampler .conv; after attention it is output_blocks.I.2

/// The correspondence of both names for one UNet.
package struct LDMUNetNames: Equatable, Sendable {
    /// L, residual blocks of each level on the way down; one more on the way up.
    package let layersPerBlock: Int

    package init(layersPerBlock: Int) { self.layersPerBlock = layersPerBlock }

    private static let resnet = [
        ("in_layers.0", "norm1"), ("in_layers.2", "conv1"), ("emb_layers.1", "time_emb_proj"),
        ("out_layers.0", "norm2"), ("out_layers.3", "conv2"), ("skip_connection", "conv_shortcut"),
    ]
    private static let ends = [
        ("input_blocks.0.0", "conv_in"), ("time_embed.0", "time_embedding.linear_1"),
        ("time_embed.2", "time_embedding.linear_2"), ("label_emb.0.0", "add_embedding.linear_1"),
        ("label_emb.0.2", "add_embedding.linear_2"), ("out.0", "conv_norm_out"), ("out.2", "conv_out"),
    ]

    /// The name in diffusers of the tensor or layer `name` of the original, nil where no UNet has it.
    func diffusers(_ name: String) -> String? {
        if let end = Self.replacedStart(name, Self.ends) { return end }
        let parts = name.split(separator: ".", maxSplits: 3, omittingEmptySubsequences: false).map(String.init)
        if parts[0] == "middle_block", parts.count >= 2 {
            let rest = parts.dropFirst(2).joined(separator: ".")
            switch parts[1] {
            case "0": return Self.resnet(rest).map { "mid_block.resnets.0." + $0 }
            case "1": return "mid_block.attentions.0." + rest
            case "2": return Self.resnet(rest).map { "mid_block.resnets.1." + $0 }
            default: return nil
            }
        }
        guard parts.count == 4, let index = Self.index(parts[1]), let module = Self.index(parts[2]) else { return nil }
        let rest = parts[3]
        let step = layersPerBlock + 1
        switch (parts[0], module) {
        case ("input_blocks", 0) where index > 0:
            let (block, layer) = ((index - 1) / step, (index - 1) % step)
            if let sampler = Self.replacedStart(rest, [("op", "conv")]) {
                return layer == layersPerBlock ? "down_blocks.\(block).downsamplers.0.\(sampler)" : nil
            }
            return layer < layersPerBlock
                ? Self.resnet(rest).map { "down_blocks.\(block).resnets.\(layer).\($0)" } : nil
        case ("input_blocks", 1) where index > 0:
            return "down_blocks.\((index - 1) / step).attentions.\((index - 1) % step).\(rest)"
        case ("output_blocks", 0):
            return Self.resnet(rest).map { "up_blocks.\(index / step).resnets.\(index % step).\($0)" }
        case ("output_blocks", 1), ("output_blocks", 2):
            if Self.replacedStart(rest, [("conv", "conv")]) != nil {
                return index % step == layersPerBlock ? "up_blocks.\(index / step).upsamplers.0.\(rest)" : nil
            }
            return module == 1 ? "up_blocks.\(index / step).attentions.\(index % step).\(rest)" : nil
        default: return nil
        }
    }

    /// The original name of the tensor or layer `name` of diffusers, nil where no UNet has it.
    ///
    /// - Parameters:
    ///   - name: the name.
    ///   - hasAttention: whether the block on the way up with this index has attention.
    /// - Returns: the original name, or nil.
    package func original(_ name: String, hasAttention: (Int) -> Bool) -> String? {
        if let end = Self.replacedStart(name, Self.ends.map { ($0.1, $0.0) }) { return end }
        let parts = name.split(separator: ".", maxSplits: 4, omittingEmptySubsequences: false).map(String.init)
        if parts[0] == "mid_block", parts.count > 3 {
            let rest = parts.dropFirst(3).joined(separator: ".")
            switch (parts[1], parts[2]) {
            case ("attentions", "0"): return "middle_block.1." + rest
            case ("resnets", "0"): return Self.originalResnet(rest).map { "middle_block.0." + $0 }
            case ("resnets", "1"): return Self.originalResnet(rest).map { "middle_block.2." + $0 }
            default: return nil
            }
        }
        guard parts.count == 5, let block = Self.index(parts[1]), let layer = Self.index(parts[3]) else { return nil }
        let rest = parts[4]
        let first = block * (layersPerBlock + 1)
        switch (parts[0], parts[2]) {
        case ("down_blocks", "resnets"):
            return Self.originalResnet(rest).map { "input_blocks.\(1 + first + layer).0.\($0)" }
        case ("down_blocks", "attentions"): return "input_blocks.\(1 + first + layer).1.\(rest)"
        case ("down_blocks", "downsamplers"):
            let sampler = Self.replacedStart(rest, [("conv", "op")])
            return sampler.map { "input_blocks.\(1 + first + layersPerBlock).0.\($0)" }
        case ("up_blocks", "resnets"):
            return Self.originalResnet(rest).map { "output_blocks.\(first + layer).0.\($0)" }
        case ("up_blocks", "attentions"): return "output_blocks.\(first + layer).1.\(rest)"
        case ("up_blocks", "upsamplers"):
            return "output_blocks.\(first + layersPerBlock).\(hasAttention(block) ? 2 : 1).\(rest)"
        default: return nil
        }
    }

    /// An index in a name; nil for other parts, and for numbers beyond every model.
    static func index(_ part: some StringProtocol) -> Int? {
        Int(part).flatMap { (0..<10_000).contains($0) ? $0 : nil }
    }

    private static func resnet(_ rest: String) -> String? { replacedStart(rest, resnet) }

    private static func originalResnet(_ rest: String) -> String? {
        replacedStart(rest, resnet.map { ($0.1, $0.0) })
    }

    /// `name` with the first of `starts` that it begins with, as whole parts between dots, replaced.
    private static func replacedStart(_ name: String, _ starts: [(String, String)]) -> String? {
        for (start, replacement) in starts {
            if name == start { return replacement }
            if name.hasPrefix(start + ".") { return replacement + name.dropFirst(start.count) }
        }
        return nil
    }
}

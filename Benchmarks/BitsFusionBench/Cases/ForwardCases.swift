// SPDX-License-Identifier: Apache-2.0
// Noise predictions of whole UNets.

import BitsFusion

enum ForwardCases {
    static var all: [BenchmarkCase] {
        [
            forward(
                "sd15 unet 64x64", .stableDiffusion(size: 64),
                RatioTargets(float32: 0.45, bfloat16: 0.85)),
            forward(
                "sd15 unet 32x32", .stableDiffusion(size: 32),
                RatioTargets(float32: 0.45, bfloat16: 0.90)),
            forward("shapes unet, batch 32", .shapes(batch: 32), RatioTargets()),
        ]
    }

    private static func forward(_ name: String, _ unet: BenchmarkUNet, _ targets: RatioTargets)
        -> BenchmarkCase
    {
        BenchmarkCase(
            name: "forward " + name, group: .forward, operation: "unet_forward", text: unet.twinText,
            operations: unet.operations, tolerances: .network, targets: targets
        ) {
            try unet.forward(unet.model())
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// JPEG files to latents with the autoencoder of Stable Diffusion 1.5 and random parameters: decoding, resizing with
// torchvision's antialiased filter, cropping and encoding, as `bitsfusion dataset` and as a diffusers script does it.

import BitsFusion
import Foundation

enum DataSetCases {
    static var all: [BenchmarkCase] {
        [encode("dataset sd15, JPEG to 512x512 latents", size: 512, RatioTargets(float32: 0.77, bfloat16: 0.77))]
    }

    private static let configFile = "Configs/vae-sd15.json"
    /// Written by scripts/make_photos.py; see the Makefile.
    private static let folder = ".build/photos"

    /// All images of the folder, one after the other.
    private static func encode(_ name: String, size: Int, _ targets: RatioTargets) -> BenchmarkCase {
        BenchmarkCase(
            name: name, group: .dataset, operation: "encode_images", options: ["size": size],
            text: ["config": configFile, "folder": folder], tolerances: .network, targets: targets, hasLongPasses: true
        ) {
            guard let json = FileManager.default.contents(atPath: configFile) else {
                throw BenchmarkError.missingFile(path: configFile)
            }
            guard FileManager.default.fileExists(atPath: folder) else {
                throw BenchmarkError.missingFile(path: folder)
            }
            let vae = try AutoencoderKL(
                config: AutoencoderKLConfig(json: json),
                parameters: ParameterPath(ParameterStore(provider: BenchmarkParameters())), parts: .encoder)
            vae.store.setTrainable(false)
            let parameters = vae.store.entries.map { ("vae." + $0.key, $0.source.tensor().detached()) }
            let source = try openImageText(folder)
            let images = try ImageLatents(
                source, buckets: AspectBuckets(BucketSize(height: size, width: size)), vae: vae,
                for: UNet2DConditionConfig(json: Data(contentsOf: URL(fileURLWithPath: "Configs/unet-sd15.json"))),
                seed: 0)
            return Workload(
                inputs: [:],
                shared: SharedTensors(name: "vae-encoder", tensors: Dictionary(uniqueKeysWithValues: parameters)),
                pass: {
                    let path = NSTemporaryDirectory() + "bitsfusion-bench-\(getpid()).h5"
                    try LatentSetLog.remove(of: path)
                    let log = try LatentSetLog(of: path, settings: settings)
                    try images.encode(
                        into: log, workers: max(Threads.count / 2, 1), skipLimit: 0, checkCaption: { _ in })
                    try LatentSetLog.remove(of: path)
                },
                results: {
                    let first = try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
                        .first { $0.hasSuffix(".jpg") }
                    let image = try ImageFile.read(folder + "/" + (first ?? "")).resized(shortSide: size)
                        .centerCropped(width: size, height: size)
                    let pixels = Tensor(image.modelRange, shape: [1, 3, size, size])
                    return ["mean": withoutGradients { vae.encode(pixels).mean }]
                })
        }
    }

    private static let settings = LatentSetSettings(
        model: "", source: "", textEncoders: [], scalingFactor: 1, shiftFactor: 0, conditionChannels: 0, options: [:])
}

// SPDX-License-Identifier: Apache-2.0
// The words of errors: one line that begins with the place and says what was expected and found.

import Files
import Foundation
import TestKit
import Testing

@testable import Checkpoints

@Suite struct CheckpointErrorTests {
    @Test(
        "each error is one line that names the file, the thing, what was expected and found, and what to do",
        arguments: [
            (
                CheckpointError.shapeMismatch(
                    file: "m.h5", key: "conv_in.weight", expected: [320, 4, 3, 3], found: [320, 9, 3, 3]),
                .badData,
                "m.h5: tensor conv_in.weight: expected shape [320, 4, 3, 3], found [320, 9, 3, 3]"
            ),
            (
                CheckpointError.unusedKeys(file: "m.h5", keys: ["a", "b", "c", "d", "e", "f"]), .badData,
                "m.h5: 6 tensors that the config does not have: a, b, c, d and 2 more; the weights do not belong to "
                    + "this config"
            ),
            (
                CheckpointError.notFinite(file: "m.h5", key: "a.weight", index: 3, count: 2), .badData,
                "m.h5: tensor a.weight: 2 values are NaN or infinite, the first at index 3; the weights are "
                    + "damaged or training diverged"
            ),
            (
                HDF5Error.failed(file: "m.h5", object: "/unet/a", operation: "read", cause: "H5FD_read: addr overflow"),
                .badData,
                "m.h5: HDF5 could not read /unet/a (H5FD_read: addr overflow); the file is damaged or incomplete"
            ),
            (
                HDF5Error.failed(
                    file: "d.h5", object: "/a", operation: "open",
                    cause: "H5O__layout_decode: bad version number for layout message"), .badData,
                "d.h5: HDF5 could not open /a (H5O__layout_decode: bad version number for layout message); the file "
                    + "is of a newer HDF5 than the library here, or damaged: write it again in an older format (h5py: "
                    + "libver=(\"earliest\", \"v110\"))"
            ),
            (
                HDF5Error.failed(file: "m.h5", object: "/unet/a", operation: "write", cause: "x"), .inputOutput,
                "m.h5: HDF5 could not write /unet/a (x)"
            ),
            (
                SafetensorsError(
                    file: "w.safetensors",
                    fault: .sizeMismatch(key: "a", dtype: "F16", shape: [2, 3], expected: 12, found: 10)),
                .badData,
                "w.safetensors: tensor a of type F16 and shape [2, 3]: expected 12 bytes, found 10"
            ),
            (
                CheckpointError.scaledFloat8(file: "w.safetensors", key: "scaled_fp8"), .badData,
                "w.safetensors: scaled float8 weights (tensor scaled_fp8) are not supported; take the float16 or "
                    + "bfloat16 file of the model"
            ),
            (
                HDF5Error.object(file: "d.h5", object: "/latents", fault: .missingFilter(name: "lzf", id: 32000)),
                .badData,
                "d.h5: /latents: compressed with the filter lzf (32000), which the HDF5 library here does not have; "
                    + "install the plugin and set HDF5_PLUGIN_PATH, or write the file again without compression or "
                    + "with gzip (h5py: compression=\"gzip\")"
            ),
            (
                LoRAError.unmatched(file: "l.safetensors", keys: ["a.alpha", "a.lora_up.weight"]), .badData,
                "l.safetensors: 2 tensors of layers that the model does not have: a.alpha, a.lora_up.weight; the LoRA "
                    + "was trained for another model, or for a component that is not imported"
            ),
        ] as [(any CategorizedError, ErrorCategory, String)])
    func texts(_ error: any CategorizedError, _ category: ErrorCategory, _ text: String) {
        #expect("\(error)" == text)
        #expect(error.category == category)
    }
}

// SPDX-License-Identifier: Apache-2.0
// From which size on defaults favour memory and time over completeness.

import BitsFusion

extension DiffusionPipeline {
    /// Whether images are dear: above 50 M parameters one is made at a time, and analyses compare predictions instead.
    var isLarge: Bool { denoiser.store.elementCount > 50_000_000 }
}

// SPDX-License-Identifier: Apache-2.0
// The forecast of stored bytes that commands use: the packing library's own count.

import ArgumentParser
import BitsFusion

extension StorageModel {
    /// What packed files really take.
    static func packed(_ encoding: PackingEncoding, bytesPerScale: Int = 4) -> StorageModel {
        StorageModel(bytesPerScale: bytesPerScale) { count, levels in
            packedByteCount(count: count, levels: levels, encoding: encoding)
        }
    }
}

/// Refuses to forecast what depends on the weights' values.
///
/// - Throws: `ValidationError`.
func validateForecast(_ encoding: PackingEncoding) throws {
    guard encoding.hasFixedSize else {
        throw ValidationError(
            "--encoding: the size of \(encoding.rawValue) codes depends on the weights; forecast radix, which takes more"
        )
    }
}

// SPDX-License-Identifier: Apache-2.0
// Manifests as the JSON text that checkpoints carry.

import Files
import Foundation
import Recipes

extension RunManifest {
    /// One line of JSON with sorted keys.
    ///
    /// - Throws: never in practice: a manifest holds text and integers only.
    package func json() throws -> String {
        return String(decoding: try JSONEncoder.compact.encode(self), as: UTF8.self)
    }
}

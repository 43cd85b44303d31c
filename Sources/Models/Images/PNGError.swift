// SPDX-License-Identifier: Apache-2.0
// What can go wrong when PNG files are written.

import Files

/// Why an image cannot be written as PNG.
public enum PNGError: CategorizedError, Equatable {
    /// libpng failed for an image of this size with this message.
    case encoding(width: Int, height: Int, message: String)

    public var category: ErrorCategory { .internalError }

    public var description: String {
        switch self {
        case .encoding(let width, let height, let message):
            "PNG of \(width)x\(height) pixels: libpng: \(message); write a smaller image"
        }
    }
}

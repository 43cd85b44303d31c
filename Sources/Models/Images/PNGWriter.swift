// SPDX-License-Identifier: Apache-2.0
//
// Images as files: encoded in memory, then written whole or not at all.

import Files

/// Writes images to PNG files.
public enum PNGWriter {
    /// Replaces the file at `path` by a PNG that shows `image`, or creates it.
    ///
    /// - Throws: `PNGError.encoding`, and as `AtomicFile.write`: `CheckpointError.cannotCreate` where the folder is
    ///   missing or not writable, `.writeFailed` where the disk fails. An old file is untouched then.
    public static func write(_ image: RGBImage, to path: String) throws {
        try AtomicFile.write(PNGEncoder.encode(image), to: path)
    }
}

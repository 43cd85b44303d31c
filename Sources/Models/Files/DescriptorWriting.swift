// SPDX-License-Identifier: Apache-2.0
// Writes to file descriptors; all files and streams of this program are written by this function.

import Foundation

/// Writes all of `bytes` to an open file.
///
/// - Parameters:
///   - bytes: the bytes.
///   - descriptor: a file or stream that is open for writing.
///   - offset: the position in the file, in bytes; nil: the current position.
/// - Returns: 0, or the errno of the call that failed.
package func writeAll(_ bytes: UnsafeRawBufferPointer, to descriptor: Int32, at offset: Int? = nil) -> Int32 {
    guard let start = bytes.baseAddress else { return 0 }
    var done = 0
    while done < bytes.count {
        // Linux writes at most 2 GiB - 4 KiB per call; macOS rejects more than 2 GiB - 1.
        let count = min(bytes.count - done, 1 << 30)
        let written =
            if let offset {
                pwrite(descriptor, start + done, count, off_t(offset + done))
            } else {
                Foundation.write(descriptor, start + done, count)
            }
        if written > 0 {
            done += written
        } else if written == 0 {
            return EIO
        } else if errno != EINTR {
            return errno
        }
    }
    return 0
}

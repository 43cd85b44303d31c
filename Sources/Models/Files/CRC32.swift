// SPDX-License-Identifier: Apache-2.0
// The CRC-32 of zlib. Packed files store it, because most damaged codes would otherwise be other valid codes. Python's
// `zlib.crc32` computes the same values.

import CZlib

/// CRC-32 with the polynomial of zlib, PNG and gzip.
package enum CRC32 {
    /// The checksum of `bytes`, or of several buffers if `start` is the checksum of the preceding ones.
    package static func checksum(of bytes: UnsafeRawBufferPointer, after start: UInt32 = 0) -> UInt32 {
        guard let address = bytes.baseAddress else { return start }
        return UInt32(crc32_z(UInt(start), address.assumingMemoryBound(to: UInt8.self), bytes.count))
    }

    /// The checksum of an array of bytes.
    package static func checksum(of bytes: [UInt8], after start: UInt32 = 0) -> UInt32 {
        bytes.withUnsafeBytes { checksum(of: $0, after: start) }
    }
}

// SPDX-License-Identifier: Apache-2.0
// The checksum of zlib, PNG and gzip (polynomial 0xEDB88320), as Python's zlib.crc32 computes it: it tells damaged codes,
// which would otherwise be other valid codes.

/// CRC-32 of bytes, eight at a time by eight tables.
enum CRC32 {
    private static let tables: [UInt32] = {
        var first = [UInt32](repeating: 0, count: 256)
        for byte in 0..<256 {
            first[byte] = (0..<8).reduce(UInt32(byte)) { value, _ in
                value & 1 == 1 ? 0xEDB8_8320 ^ (value >> 1) : value >> 1
            }
        }
        var tables = [first]
        for _ in 1..<8 {
            let last = tables[tables.count - 1]
            tables.append(last.map { first[Int($0 & 0xFF)] ^ ($0 >> 8) })
        }
        return tables.flatMap { $0 }
    }()

    /// The checksum of `bytes` behind bytes with the checksum `start`; 0 for none.
    static func checksum(of bytes: [UInt8], after start: UInt32 = 0) -> UInt32 {
        tables.withUnsafeBufferPointer { table in
            bytes.withUnsafeBytes { buffer in
                var crc = ~start
                var index = 0
                while index + 8 <= buffer.count {
                    let low =
                        UInt32(littleEndian: buffer.loadUnaligned(fromByteOffset: index, as: UInt32.self))
                        ^ crc
                    let high = UInt32(
                        littleEndian: buffer.loadUnaligned(fromByteOffset: index + 4, as: UInt32.self))
                    crc =
                        table[1792 + Int(low & 0xFF)] ^ table[1536 + Int(low >> 8 & 0xFF)]
                        ^ table[1280 + Int(low >> 16 & 0xFF)] ^ table[1024 + Int(low >> 24)]
                    crc ^=
                        table[768 + Int(high & 0xFF)] ^ table[512 + Int(high >> 8 & 0xFF)]
                        ^ table[256 + Int(high >> 16 & 0xFF)] ^ table[Int(high >> 24)]
                    index += 8
                }
                while index < buffer.count {
                    crc = table[Int((crc ^ UInt32(buffer[index])) & 0xFF)] ^ (crc >> 8)
                    index += 1
                }
                return ~crc
            }
        }
    }
}

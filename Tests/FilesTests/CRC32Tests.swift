// SPDX-License-Identifier: Apache-2.0
// zlib's CRC-32 against its definition.

import Testing

@testable import Files

@Suite struct CRC32Tests {
    @Test("CRC-32 gives the published check value, and zlib's for every length of the tail")
    func checksum() {
        #expect(CRC32.checksum(of: Array("123456789".utf8)) == 0xCBF4_3926)
        #expect(CRC32.checksum(of: []) == 0)
        let bytes = [UInt8](0...20)
        for count in 0...20 {
            // Bit by bit, as the polynomial is defined.
            var crc: UInt32 = ~0
            for byte in bytes.prefix(count) {
                crc ^= UInt32(byte)
                for _ in 0..<8 { crc = crc & 1 == 1 ? 0xEDB8_8320 ^ (crc >> 1) : crc >> 1 }
            }
            #expect(CRC32.checksum(of: Array(bytes.prefix(count))) == ~crc)
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Finds the text of a variable-length attribute in the bytes of an HDF5 file, with every bound checked. After the HDF5
// File Format Specification 3.0: IV.A.1.b (object header v2), IV.A.2.m (attribute message), III.E (global heap).
//
//     object header   "OHDR" 2 flags [times 16] [phase 4] size(1,2,4,8) messages checksum
//     message         type(1) size(2) flags(1) [order(2)] body; continuation 0x10: address(8) length(8) of an "OCHK"
//     attribute 0x0C  version flags name(2) type(2) space(2) charset(1) name type space value
//     value           length(4) heap address(8) index(4)
//     global heap     "GCOL" 1 0 0 0 size(8), then objects: index(2) references(2) 0(4) size(8) bytes, padded to 8

/// Reads variable-length texts from the bytes of a whole file.
struct HeapText {
    private let file: UnsafeRawBufferPointer

    init(_ file: UnsafeRawBufferPointer) { self.file = file }

    enum Answer: Equatable {
        case found([UInt8])
        /// The file's structures contradict each other.
        case damaged(String)
        /// The attribute is stored in one of the ways that only other programs use.
        case elsewhere
    }

    /// The text of attribute `name` of the object whose header lies at `headerAddress`.
    func attribute(_ name: String, headerAddress: Int) -> Answer {
        // Superblock v2 or v3 at byte 0 with 8-byte addresses: what HDF5 1.8's format writes.
        guard let version = byte(8), version >= 2, byte(9) == 8, byte(10) == 8 else { return .elsewhere }
        guard tag(headerAddress) == "OHDR", byte(headerAddress + 4) == 2, let flags = byte(headerAddress + 5)
        else {
            return .elsewhere
        }
        var position = headerAddress + 6
        if flags & 0x20 != 0 { position += 16 }
        if flags & 0x10 != 0 { position += 4 }
        let sizeBytes = 1 << Int(flags & 3)
        guard let size = integer(position, bytes: sizeBytes) else {
            return .damaged("object header is cut off")
        }
        let messageHeader = flags & 0x04 != 0 ? 6 : 4
        var chunks = [(start: position + sizeBytes, size: size)]
        // Every chunk holds at least a message, so a loop of continuations shows as more chunks than fit.
        var visited = 0
        while let chunk = chunks.popLast() {
            visited += 1
            guard chunk.size >= 0, chunk.start <= file.count, chunk.size <= file.count - chunk.start,
                visited < 1000
            else { return .damaged("object header is cut off") }
            var next = chunk.start
            let end = chunk.start + chunk.size
            while next + messageHeader <= end, let kind = byte(next), let length = integer(next + 1, bytes: 2) {
                let body = next + messageHeader
                next = body + length
                guard next <= end else { return .damaged("header message is cut off") }
                if kind == 0x10, let address = integer(body, bytes: 8),
                    let bytes = integer(body + 8, bytes: 8)
                {
                    guard tag(address) == "OCHK", bytes >= 8 else {
                        return .damaged("header continuation is lost")
                    }
                    chunks.append((address + 4, bytes - 8))
                }
                if kind == 0x0C, let value = value(ofAttribute: name, body: body, length: length) {
                    return text(value)
                }
            }
        }
        return .elsewhere
    }

    /// Where the value of the attribute message at `body` begins, if it is the attribute `name` in a simple form.
    private func value(ofAttribute name: String, body: Int, length: Int) -> Int? {
        guard let version = byte(body), version == 2 || version == 3, byte(body + 1) == 0,
            let nameSize = integer(body + 2, bytes: 2), let typeSize = integer(body + 4, bytes: 2),
            let spaceSize = integer(body + 6, bytes: 2)
        else { return nil }
        let nameStart = body + (version == 3 ? 9 : 8)
        let value = nameStart + nameSize + typeSize + spaceSize
        guard value + 16 == body + length, nameSize == name.utf8.count + 1,
            file[nameStart..<nameStart + nameSize - 1].elementsEqual(name.utf8)
        else { return nil }
        return value
    }

    private func text(_ value: Int) -> Answer {
        guard let length = integer(value, bytes: 4), let heap = integer(value + 4, bytes: 8),
            let wanted = integer(value + 12, bytes: 4)
        else { return .damaged("attribute value is cut off") }
        if length == 0 { return .found([]) }
        guard tag(heap) == "GCOL", let size = integer(heap + 8, bytes: 8), size <= file.count - heap else {
            return .damaged("text heap is lost")
        }
        var next = heap + 16
        while next + 16 <= heap + size, let index = integer(next, bytes: 2),
            let bytes = integer(next + 8, bytes: 8)
        {
            guard index != 0, bytes <= heap + size - next - 16 else { break }
            if index == wanted {
                guard length <= bytes else { break }
                // HDF5 ends texts at a zero byte, wherever it stands.
                return .found(Array(file[next + 16..<next + 16 + length].prefix { $0 != 0 }))
            }
            next += 16 + (bytes + 7) / 8 * 8
        }
        return .damaged("text heap holds no such text")
    }

    private func byte(_ position: Int) -> UInt8? {
        position >= 0 && position < file.count ? file[position] : nil
    }

    /// An unsigned little-endian integer, or nil where it lies outside of the file or is above Int.max.
    private func integer(_ position: Int, bytes: Int) -> Int? {
        guard position >= 0, position <= file.count - bytes else { return nil }
        var value: UInt64 = 0
        for index in 0..<bytes { value |= UInt64(file[position + index]) << UInt64(8 * index) }
        return Int(exactly: value)
    }

    private func tag(_ position: Int) -> String? {
        guard position >= 0, position <= file.count - 4 else { return nil }
        return String(decoding: file[position..<position + 4], as: UTF8.self)
    }
}

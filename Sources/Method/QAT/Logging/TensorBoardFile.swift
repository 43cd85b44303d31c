// SPDX-License-Identifier: Apache-2.0
// Event files of TensorBoard: TFRecords of protocol buffers.
//
//     record      length, uint64 | masked CRC-32C of it, uint32 | event | masked CRC-32C of the event, uint32
//     Event       1 wall_time, double | 2 step, int64 | 3 file_version, string | 5 summary | 7 session_log
//     Summary     1 value, repeated: 1 tag, string | 2 simple_value, float | 4 image
//     Image       1 height | 2 width | 3 colorspace, 3 is RGB | 4 encoded_image_string, the bytes of a PNG file
//     SessionLog  1 status: 1 is START, which discards events of an earlier file from this step on

import Files
import Foundation

/// An event file that is appended to.
public final class TensorBoardFile {
    public let path: String
    private let file: FileHandle

    /// Creates the file in `folder`.
    ///
    /// - Parameters:
    ///   - folder: an existing folder; TensorBoard reads all event files below it as one run.
    ///   - step: the number of steps done. Events of earlier files of the folder with larger steps are discarded by
    ///     TensorBoard.
    ///   - time: seconds since 1970; part of the file's name, and the time of the first event.
    /// - Throws: `FileError.cannotCreate`, `.appendFailed`.
    public init(in folder: String, step: Int, time: Double = Date().timeIntervalSince1970) throws(FileError) {
        path = "\(folder)/events.out.tfevents.\(String(format: "%.6f", time)).bitsfusion"
        let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o666)
        guard descriptor >= 0 else { throw .cannotCreate(path: path, code: errno) }
        file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        var version = ProtocolBuffer(wallTime: time, step: 0)
        version.add(3, Array("brain.Event:2".utf8))
        try write(version)
        var start = ProtocolBuffer(wallTime: time, step: step)
        start.add(7, ProtocolBuffer { $0.add(1, 1) }.bytes)
        try write(start)
    }

    /// Appends the values of one step.
    ///
    /// - Throws: `FileError.appendFailed`.
    public func add(
        _ scalars: [String: Double], step: Int, time: Double = Date().timeIntervalSince1970
    ) throws(FileError) {
        let values = scalars.sorted { byBytes($0.key, $1.key) }.map { tag, value in
            ProtocolBuffer {
                $0.add(1, Array(tag.utf8))
                $0.add(2, Float(value))
            }
        }
        try write(values, step: step, time: time)
    }

    /// Appends an image: the bytes of a PNG file of `width` x `height` pixels.
    ///
    /// - Throws: `FileError.appendFailed`.
    public func add(
        image png: [UInt8], width: Int, height: Int, tag: String, step: Int,
        time: Double = Date().timeIntervalSince1970
    ) throws(FileError) {
        let image = ProtocolBuffer {
            $0.add(1, height)
            $0.add(2, width)
            $0.add(3, 3)
            $0.add(4, png)
        }
        let value = ProtocolBuffer {
            $0.add(1, Array(tag.utf8))
            $0.add(4, image.bytes)
        }
        try write([value], step: step, time: time)
    }

    private func write(_ values: [ProtocolBuffer], step: Int, time: Double) throws(FileError) {
        var event = ProtocolBuffer(wallTime: time, step: step)
        event.add(5, ProtocolBuffer { summary in for value in values { summary.add(1, value.bytes) } }.bytes)
        try write(event)
    }

    private func write(_ event: ProtocolBuffer) throws(FileError) {
        let length = withUnsafeBytes(of: UInt64(event.bytes.count).littleEndian) { Array($0) }
        let record = length + Self.maskedChecksum(length) + event.bytes + Self.maskedChecksum(event.bytes)
        do {
            try file.write(contentsOf: record)
        } catch {
            throw .appendFailed(path: path, code: errno)
        }
    }

    private static func maskedChecksum(_ bytes: [UInt8]) -> [UInt8] {
        let sum = CRC32C.checksum(of: bytes)
        let masked = (sum >> 15 | sum << 17) &+ 0xA282_EAD8
        return withUnsafeBytes(of: masked.littleEndian) { Array($0) }
    }
}

/// CRC-32 with the polynomial of Castagnoli, which zlib does not have.
enum CRC32C {
    private static let table: [UInt32] = (0..<256).map { byte in
        (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0x82F6_3B78 : value >> 1 }
    }

    static func checksum(of bytes: [UInt8]) -> UInt32 {
        ~bytes.reduce(~0) { $0 >> 8 ^ table[Int(UInt8(truncatingIfNeeded: $0) ^ $1)] }
    }
}

/// A message in the making: fields are appended.
private struct ProtocolBuffer {
    private(set) var bytes: [UInt8] = []

    init(_ fill: (inout ProtocolBuffer) -> Void) { fill(&self) }

    /// An Event's first fields.
    init(wallTime: Double, step: Int) {
        self.init {
            $0.addKey(1, wireType: 1)
            $0.bytes += withUnsafeBytes(of: wallTime.bitPattern.littleEndian) { Array($0) }
            $0.add(2, step)
        }
    }

    mutating func add(_ field: UInt64, _ value: Int) {
        addKey(field, wireType: 0)
        addVariable(UInt64(bitPattern: Int64(value)))
    }

    mutating func add(_ field: UInt64, _ value: Float) {
        addKey(field, wireType: 5)
        bytes += withUnsafeBytes(of: value.bitPattern.littleEndian) { Array($0) }
    }

    mutating func add(_ field: UInt64, _ content: [UInt8]) {
        addKey(field, wireType: 2)
        addVariable(UInt64(content.count))
        bytes += content
    }

    private mutating func addKey(_ field: UInt64, wireType: UInt64) { addVariable(field << 3 | wireType) }

    private mutating func addVariable(_ value: UInt64) {
        var rest = value
        while rest >= 0x80 {
            bytes.append(UInt8(rest & 0x7F) | 0x80)
            rest >>= 7
        }
        bytes.append(UInt8(rest))
    }
}

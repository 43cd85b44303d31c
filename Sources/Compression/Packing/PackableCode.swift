// SPDX-License-Identifier: Apache-2.0
// The integer types that hold codes in memory. Unsigned types hold stored codes 0..<L; signed types hold the codes of
// the grid, which are the stored ones less (L-1)/2: for the balanced grids, -(L-1)/2 ... (L-1)/2.

/// An integer type that codes are packed from and unpacked to.
///
///     type     holds                             levels
///     UInt8    stored codes 0..<L                at most 256
///     Int8     codes -(L-1)/2 ... L-1-(L-1)/2    at most 255
///     UInt16   stored codes                      any
///     Int16    codes                             any
public protocol PackableCode: FixedWidthInteger, BitwiseCopyable, Sendable {}

extension UInt8: PackableCode {}
extension Int8: PackableCode {}
extension UInt16: PackableCode {}
extension Int16: PackableCode {}

extension PackableCode {
    /// What is taken off a stored code: (levels - 1) / 2 for signed types, 0 for unsigned ones.
    static func offset(levels: Int) -> Int {
        isSigned ? (levels - 1) / 2 : 0
    }

    /// Traps where this type cannot hold every code of `levels` levels.
    static func requireRoom(levels: Int, _ operation: StaticString) {
        let largest = levels - 1 - offset(levels: levels)
        precondition(
            largest <= Int(Self.max),
            "\(operation): \(levels) levels reach code \(largest), too large for \(Self.self)")
    }
}

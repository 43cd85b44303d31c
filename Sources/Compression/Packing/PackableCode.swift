// SPDX-License-Identifier: Apache-2.0
// The integer types of codes in memory. Unsigned types contain stored codes 0..<L. Signed types contain grid codes,
// which are stored codes minus (L-1)/2: -(L-1)/2 ... (L-1)/2 for balanced grids.

/// An integer type that codes can be packed from and unpacked to.
///
///     type     contents                          levels
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
    /// The difference between stored code and code: (levels - 1) / 2 for signed types, 0 for unsigned types.
    static func offset(levels: Int) -> Int {
        isSigned ? (levels - 1) / 2 : 0
    }

    /// Traps if this type cannot represent all codes of `levels` levels.
    static func preconditionFits(levels: Int, _ operation: StaticString) {
        let largest = levels - 1 - offset(levels: levels)
        precondition(
            largest <= Int(Self.max),
            "\(operation): the largest code of \(levels) levels, \(largest), does not fit into \(Self.self)")
    }
}

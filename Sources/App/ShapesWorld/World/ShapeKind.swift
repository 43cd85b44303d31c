// SPDX-License-Identifier: Apache-2.0
//
// The four outlines of the shapes world and their words. Geometry is in ShapeKind+Geometry.swift.

/// One of the four outlines that an image may contain.
public enum ShapeKind: Int, CaseIterable, Hashable, Sendable {
    case circle, square, triangle, cross

    /// The singular noun, as captions spell it: `"circle"`.
    public var noun: String {
        switch self {
        case .circle: "circle"
        case .square: "square"
        case .triangle: "triangle"
        case .cross: "cross"
        }
    }

    /// The plural noun, as captions spell it: `"crosses"`.
    public var plural: String {
        self == .cross ? "crosses" : noun + "s"
    }
}

extension ShapeKind: CustomStringConvertible {
    public var description: String { noun }
}

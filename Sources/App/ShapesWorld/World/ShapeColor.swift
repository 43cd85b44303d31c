// SPDX-License-Identifier: Apache-2.0
//
// The palette: six corners of the RGB cube, pulled in from 0 and 1 to leave room for jitter. On the mid-grey
// background every entry has the same contrast, and any two entries differ by 0.84 in at least one channel.

/// One of the six colours that an image's objects may have.
public enum ShapeColor: Int, CaseIterable, Hashable, Sendable {
    case red, green, blue, yellow, magenta, cyan

    /// Each channel of a drawn object differs from its palette entry by at most this much.
    public static let jitter: Float = 0.04

    private static let low: Float = 0.08
    private static let high: Float = 0.92

    /// The word that captions use.
    public var word: String {
        switch self {
        case .red: "red"
        case .green: "green"
        case .blue: "blue"
        case .yellow: "yellow"
        case .magenta: "magenta"
        case .cyan: "cyan"
        }
    }

    /// The palette entry, (R, G, B), each in 0...1.
    public var rgb: SIMD3<Float> {
        let low = Self.low, high = Self.high
        return switch self {
        case .red: SIMD3(high, low, low)
        case .green: SIMD3(low, high, low)
        case .blue: SIMD3(low, low, high)
        case .yellow: SIMD3(high, high, low)
        case .magenta: SIMD3(high, low, high)
        case .cyan: SIMD3(low, high, high)
        }
    }

    /// The palette entry nearest to `rgb` by Euclidean distance, and that distance.
    static func nearest(to rgb: SIMD3<Float>) -> (color: ShapeColor, distance: Float) {
        var best = (color: ShapeColor.red, distance: Float.infinity)
        for candidate in allCases {
            let difference = candidate.rgb - rgb
            let distance = (difference * difference).sum().squareRoot()
            if distance < best.distance { best = (candidate, distance) }
        }
        return best
    }
}

extension ShapeColor: CustomStringConvertible {
    public var description: String { word }
}

// SPDX-License-Identifier: Apache-2.0
// Image sizes for training with several aspect ratios (NovelAI's aspect ratio bucketing, with the sizes that kohya's
// trainers use): all have about the same area, so that a batch of one size costs as much as a batch of another.

/// A size of training images in pixels.
public struct BucketSize: Hashable, Sendable {
    public let height, width: Int

    public init(height: Int, width: Int) {
        self.height = height
        self.width = width
    }
}

/// The sizes that the images of a set are resized and cropped to.
public struct AspectBuckets: Sendable {
    /// Sorted by width, then height; at least one.
    public let sizes: [BucketSize]

    /// One size.
    public init(_ size: BucketSize) { sizes = [size] }

    /// Sizes from tall to wide: `width` takes the multiples of `step` from `resolution / 2` to `2 * resolution`, and
    /// height is the largest multiple of `step` with an area of at most `resolution` squared, within the same limits;
    /// all of these also with height and width exchanged.
    ///
    /// - Precondition: `resolution` is at least `step`, which is positive.
    public init(resolution: Int, step: Int) {
        precondition(step > 0 && resolution >= step, "aspect buckets: resolution \(resolution), step \(step)")
        func whole(_ side: Int) -> Int { side / step * step }
        let (area, smallest, largest) = (resolution * resolution, max(whole(resolution / 2), step), 2 * resolution)
        var found: Set<BucketSize> = [BucketSize(height: whole(resolution), width: whole(resolution))]
        for width in stride(from: smallest, through: largest, by: step) {
            let height = min(whole(area / width), whole(largest))
            guard height >= smallest else { continue }
            found.insert(BucketSize(height: height, width: width))
            found.insert(BucketSize(height: width, width: height))
        }
        sizes = found.sorted { ($0.width, $0.height) < ($1.width, $1.height) }
    }

    /// The size with the aspect ratio closest to that of an image; the first one of equally close sizes.
    public func size(forWidth width: Int, height: Int) -> BucketSize {
        let aspect = Double(width) / Double(height)
        func error(_ size: BucketSize) -> Double { abs(Double(size.width) / Double(size.height) - aspect) }
        return sizes.dropFirst().reduce(sizes[0]) { error($1) < error($0) ? $1 : $0 }
    }
}

// SPDX-License-Identifier: Apache-2.0
// Decodes and resizes the images of a collection in the background, several at a time, and delivers them in order.

import Files
import Foundation
import Images

/// An image of a collection in its bucket's size, or why it cannot be used.
struct PreparedImage {
    let key: String
    let captions: [String]
    let image: Result<ResizedImage, any Error>
}

/// The images of a collection, prepared ahead of their use.
final class PreparedImages: @unchecked Sendable {
    private let source: any ImageTextSource
    private let buckets: AspectBuckets
    private let workers: Int
    private let changed = NSCondition()
    // Guarded by `changed`.
    private var ready: [Int: PreparedImage] = [:]
    private var delivered = 0
    private var submitted = 0
    private var running = 0
    private var isStopped = false
    private var end: Result<Void, any Error>?

    /// - Parameters:
    ///   - source: the collection.
    ///   - buckets: the sizes of images.
    ///   - workers: images that are prepared at the same time.
    init(_ source: any ImageTextSource, buckets: AspectBuckets, workers: Int) {
        self.source = source
        self.buckets = buckets
        self.workers = workers
    }

    /// Calls `body` with the images of a range of the collection, in order, on this thread.
    ///
    /// - Throws: what the collection and `body` throw.
    func read(_ range: Range<Int>, _ body: (PreparedImage) throws -> Void) throws {
        guard !range.isEmpty else { return }
        let thread = Thread { [self] in produce(range) }
        thread.stackSize = 1 << 23
        thread.start()
        defer { stop() }
        while let image = try next() { try body(image) }
    }

    private func next() throws -> PreparedImage? {
        changed.lock()
        defer { changed.unlock() }
        while true {
            if let image = ready.removeValue(forKey: delivered) {
                delivered += 1
                changed.broadcast()
                return image
            }
            if let end, delivered == submitted {
                try end.get()
                return nil
            }
            changed.wait()
        }
    }

    /// Reads the collection; at most `workers` images are in work and as many are waiting for their use.
    private func produce(_ range: Range<Int>) {
        let result = Result {
            try source.read(from: range.lowerBound) { sample in
                guard let number = admit() else { return false }
                DispatchQueue.global(qos: .userInitiated).async { [self] in finish(prepare(sample), number) }
                return number + 1 < range.count
            }
        }
        changed.lock()
        end = result
        changed.broadcast()
        changed.unlock()
    }

    /// Waits until one more image can be prepared; nil if no more are wanted.
    private func admit() -> Int? {
        changed.lock()
        defer { changed.unlock() }
        while !isStopped, running >= workers || submitted - delivered >= 2 * workers { changed.wait() }
        if isStopped { return nil }
        running += 1
        submitted += 1
        return submitted - 1
    }

    private func finish(_ image: PreparedImage, _ number: Int) {
        changed.lock()
        ready[number] = image
        running -= 1
        changed.broadcast()
        changed.unlock()
    }

    /// Waits for the images in work, which nothing will ask for.
    private func stop() {
        changed.lock()
        isStopped = true
        changed.broadcast()
        while end == nil || running > 0 { changed.wait() }
        changed.unlock()
    }

    private func prepare(_ sample: ImageTextSample) -> PreparedImage {
        PreparedImage(
            key: sample.key, captions: sample.captions,
            image: Result {
                let image = try ImageFile.decode(sample.image.get(), name: sample.key)
                return ResizedImage(image, size: buckets.size(forWidth: image.width, height: image.height))
            })
    }
}

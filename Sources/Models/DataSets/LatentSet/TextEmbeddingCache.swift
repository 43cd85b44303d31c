// SPDX-License-Identifier: Apache-2.0
// Text embeddings of captions, computed when they are first needed by the frozen text encoders of the model and kept
// within a limit of memory. T tokens, D context size, P channels of pooled text.

import Pipelines
import Tensors

/// The embeddings of one caption.
struct TextEmbedding {
    /// `[1, T, D]`.
    let context: Tensor
    /// `[1, P]`; nil for models with one text encoder.
    let pooled: Tensor?

    var byteCount: Int { 4 * (context.count + (pooled?.count ?? 0)) }
}

/// Computes text embeddings, least recently used ones forgotten first.
struct TextEmbeddingCache {
    private struct Entry {
        let value: TextEmbedding
        var lastUse: Int
    }

    private let encoder: PromptEncoder
    private let byteLimit: Int
    private var entries: [[[Int32]]: Entry] = [:]
    private var bytes = 0
    private var clock = 0
    /// Embeddings that were computed.
    private(set) var misses = 0

    init(_ encoder: PromptEncoder, byteLimit: Int) {
        self.encoder = encoder
        self.byteLimit = byteLimit
    }

    /// The embeddings of a caption with these token ids for each text encoder.
    mutating func embedding(_ tokenIDs: [[Int32]]) -> TextEmbedding {
        clock += 1
        if let found = entries[tokenIDs] {
            entries[tokenIDs]?.lastUse = clock
            return found.value
        }
        misses += 1
        let (context, pooled) = encoder.encode(tokenIDs: [tokenIDs])
        let value = TextEmbedding(context: context, pooled: pooled)
        if value.byteCount <= byteLimit {
            if bytes + value.byteCount > byteLimit { forget(toHold: value.byteCount) }
            entries[tokenIDs] = Entry(value: value, lastUse: clock)
            bytes += value.byteCount
        }
        return value
    }

    /// Forgets a quarter of the entries at once, so that the search for the oldest ones is rare.
    private mutating func forget(toHold needed: Int) {
        let target = min(byteLimit * 3 / 4, byteLimit - needed)
        for (key, entry) in entries.sorted(by: { $0.value.lastUse < $1.value.lastUse }) {
            if bytes <= target { return }
            entries[key] = nil
            bytes -= entry.value.byteCount
        }
    }
}

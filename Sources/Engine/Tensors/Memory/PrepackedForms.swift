// SPDX-License-Identifier: Apache-2.0
// Frozen weights in the forms that kernels read, made at first use and kept with the weight until it changes.

import Foundation
import Synchronization

/// A form of a weight that a kernel reads.
enum PrepackedForm: Hashable, Sendable {
    /// `[OC, IC]` as the right operand of x Wᵀ.
    case linear(outputs: Int, inputs: Int)
    /// The same as the right operand of g W, which gives the gradient of x.
    case linearGradient(outputs: Int, inputs: Int)
    /// `[OC, IC, 3, 3]` transformed for F(m x m, 3 x 3): [(m + 2)², OC, IC].
    case winograd(m: Int, outputs: Int, inputs: Int)
    /// The same turned by 180 degrees, which gives the gradient of an input: [(m + 2)², IC, OC].
    case winogradGradient(m: Int, outputs: Int, inputs: Int)
}

/// The forms kept for one weight; empty as soon as somebody writes to it.
final class PrepackedForms: Sendable {
    private let forms = Mutex<[PrepackedForm: Storage]>([:])

    /// The kept form, or what `make` packs, which is kept while the budget lasts.
    func form(_ form: PrepackedForm, floats: Int, make: () -> Storage) -> Storage {
        if let kept = forms.withLock({ $0[form] }) { return kept }
        let made = make()
        let bytes = floats * MemoryLayout<Float>.stride
        guard PanelCache.reserve(bytes) else { return made }
        let isNew = forms.withLock { $0.updateValue(made, forKey: form) == nil }
        // Two first uses at once pack twice; the second copy takes the first one's place.
        if !isNew { PanelCache.release(bytes) }
        return made
    }

    func holds(_ form: PrepackedForm) -> Bool { forms.withLock { $0[form] != nil } }

    func drop() {
        let dropped = forms.withLock { kept -> [PrepackedForm: Storage] in
            defer { kept = [:] }
            return kept
        }
        for storage in dropped.values { PanelCache.release(storage.count * MemoryLayout<Float>.stride) }
    }

    deinit { drop() }
}

/// The memory that packed weights may take.
public enum PanelCache {
    private static let used = Atomic<Int>(0)
    private static let limit = Atomic<Int>(Int(ProcessInfo.processInfo.physicalMemory / 3))
    private static let crowdedBytes = Int(ProcessInfo.processInfo.physicalMemory / 2)

    /// Bytes that packed forms of frozen weights may take together, a third of the machine's memory unless set. Weights
    /// beyond it are packed at each use, and so are all that come when tensors fill half of the machine already: training
    /// a large model needs the memory more.
    public static var memoryLimit: Int {
        get { limit.load(ordering: .relaxed) }
        set { limit.store(newValue, ordering: .relaxed) }
    }

    /// Bytes that they take now.
    public static var memoryInUse: Int { used.load(ordering: .relaxed) }

    static func reserve(_ bytes: Int) -> Bool {
        let total = used.wrappingAdd(bytes, ordering: .relaxed).newValue
        let isCrowded = BlockPool.shared.liveBytes > crowdedBytes
        if total <= memoryLimit, !isCrowded { return true }
        release(bytes)
        return false
    }

    static func release(_ bytes: Int) { used.wrappingSubtract(bytes, ordering: .relaxed) }
}

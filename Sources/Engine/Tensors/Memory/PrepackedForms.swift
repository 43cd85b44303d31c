// SPDX-License-Identifier: Apache-2.0
// Frozen weights in the memory layouts that kernels read (prepacked panels, Winograd transforms), made at first use and
// cached with the weight until it changes.

import Foundation
import Synchronization

/// A memory layout of a weight that a kernel reads.
enum PrepackedForm: Hashable, Sendable {
    /// `[OC, IC]` as the right operand of x Wᵀ.
    case linear(outputs: Int, inputs: Int, isBFloat: Bool = false)
    /// `[OC, IC]` as the right operand of g W, the gradient of x.
    case linearGradient(outputs: Int, inputs: Int, isBFloat: Bool = false)
    /// `[OC, IC, 3, 3]` transformed for F(m x m, 3 x 3): [(m + 2)², OC, IC].
    case winograd(m: Int, outputs: Int, inputs: Int)
    /// The same with kernels rotated by 180 degrees, for the gradient of the input: [(m + 2)², IC, OC].
    case winogradGradient(m: Int, outputs: Int, inputs: Int)
}

/// The cached forms of one weight; emptied when the weight is written to.
final class PrepackedForms: Sendable {
    private let forms = Mutex<[PrepackedForm: Storage]>([:])

    /// The cached form, or the result of `make`, which is cached if the memory limit allows.
    func form(_ form: PrepackedForm, floats: Int, make: () -> Storage) -> Storage {
        if let cached = forms.withLock({ $0[form] }) { return cached }
        let made = make()
        let bytes = floats * MemoryLayout<Float>.stride
        guard PanelCache.reserve(bytes) else { return made }
        let isNew = forms.withLock { $0.updateValue(made, forKey: form) == nil }
        // Two concurrent first uses prepack twice; the second copy replaces the first.
        if !isNew { PanelCache.release(bytes) }
        return made
    }

    func holds(_ form: PrepackedForm) -> Bool { forms.withLock { $0[form] != nil } }

    func drop() {
        let dropped = forms.withLock { cached -> [PrepackedForm: Storage] in
            defer { cached = [:] }
            return cached
        }
        for storage in dropped.values { PanelCache.release(storage.count * MemoryLayout<Float>.stride) }
    }

    deinit { drop() }
}

/// The memory limit of all cached forms.
public enum PanelCache {
    private static let used = Atomic<Int>(0)
    private static let limit = Atomic<Int>(Int(ProcessInfo.processInfo.physicalMemory / 3))
    private static let crowdedBytes = Atomic<Int>(Int(ProcessInfo.processInfo.physicalMemory / 2))

    /// Maximum number of bytes of all cached forms of frozen weights; by default a third of physical memory. Weights
    /// beyond the limit are prepacked at each use. So are all weights first used while tensors take more than half of
    /// physical memory, because training a large model needs that memory.
    public static var memoryLimit: Int {
        get { limit.load(ordering: .relaxed) }
        set { limit.store(newValue, ordering: .relaxed) }
    }

    /// Limits this process to its part of the memory that it shares with other processes of the machine.
    ///
    /// - Parameter processes: their number, this one included. Called once.
    public static func shareMemory(of processes: Int) {
        memoryLimit /= processes
        crowdedBytes.store(crowdedBytes.load(ordering: .relaxed) / processes, ordering: .relaxed)
    }

    /// False inside `withoutPanelCache`.
    @TaskLocal static var isEnabled = true

    /// Bytes of all cached forms.
    static var memoryInUse: Int { used.load(ordering: .relaxed) }

    static func reserve(_ bytes: Int) -> Bool {
        let total = used.wrappingAdd(bytes, ordering: .relaxed).newValue
        let isCrowded = BlockPool.shared.liveBytes > crowdedBytes.load(ordering: .relaxed)
        if total <= memoryLimit, !isCrowded { return true }
        release(bytes)
        return false
    }

    static func release(_ bytes: Int) { used.wrappingSubtract(bytes, ordering: .relaxed) }
}

/// Runs `body` with frozen weights prepacked at each use instead of once, so that their panels take no memory between
/// uses: for layers that are used rarely and on many pixels, where prepacking takes a small share of the time.
public func withoutPanelCache<R>(_ body: () throws -> R) rethrows -> R {
    try PanelCache.$isEnabled.withValue(false, operation: body)
}

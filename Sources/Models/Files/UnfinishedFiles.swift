// SPDX-License-Identifier: Apache-2.0
// The temporary files and lock files of this process, which a signal handler can remove: it must neither lock nor
// allocate, so that the names are C strings in slots that are never freed.

import Foundation
import Synchronization

/// Files that must not outlive the process.
package enum UnfinishedFiles {
    /// The place of one name. Whoever takes the name out of it owns it, so that it is never freed while it is read.
    struct Slot: ~Copyable {
        let name = Atomic<UnsafeMutablePointer<CChar>?>(nil)
        let next: UnsafeMutablePointer<Slot>?
    }

    /// A registered file.
    struct Entry: @unchecked Sendable {
        fileprivate let slot: UnsafeMutablePointer<Slot>

        /// Ends the registration, after the file was renamed or removed.
        func remove() { free(slot.pointee.name.exchange(nil, ordering: .acquiringAndReleasing)) }
    }

    /// The number of files that are being created and not registered yet.
    private static let creations = Atomic<Int>(0)
    /// A signal that arrived meanwhile; 0 for none.
    private static let heldSignal = Atomic<Int32>(0)
    nonisolated(unsafe) private static let first = Atomic<UnsafeMutablePointer<Slot>?>(nil)
    private static let growth = Mutex<Void>(())

    /// Delays signals that end the process from before a file is created until it is registered; `endCreation()` must
    /// follow. Blocking the signals would not do: the system then delivers them to another thread.
    static func beginCreation() { creations.add(1, ordering: .sequentiallyConsistent) }

    /// Ends `beginCreation()`; raises the signal that arrived meanwhile again.
    static func endCreation() {
        guard creations.subtract(1, ordering: .sequentiallyConsistent).newValue == 0 else { return }
        let signal = heldSignal.exchange(0, ordering: .sequentiallyConsistent)
        if signal != 0 { raise(signal) }
    }

    /// Whether a file is being created; then `signal` will be raised again. Safe in a signal handler.
    package static func holds(_ signal: Int32) -> Bool {
        guard creations.load(ordering: .sequentiallyConsistent) > 0 else { return false }
        heldSignal.store(signal, ordering: .sequentiallyConsistent)
        // The creation may have ended before it could see the signal.
        let hasEnded = creations.load(ordering: .sequentiallyConsistent) == 0
        return !hasEnded || heldSignal.exchange(0, ordering: .sequentiallyConsistent) == 0
    }

    /// Registers the file at `path`.
    static func add(_ path: String) -> Entry {
        let name = strdup(path)
        return growth.withLock { _ in
            var slot = first.load(ordering: .acquiring)
            while let current = slot {
                let (isFree, _) = current.pointee.name.compareExchange(
                    expected: nil, desired: name, ordering: .acquiringAndReleasing)
                if isFree { return Entry(slot: current) }
                slot = current.pointee.next
            }
            let new = UnsafeMutablePointer<Slot>.allocate(capacity: 1)
            new.initialize(to: Slot(next: first.load(ordering: .acquiring)))
            new.pointee.name.store(name, ordering: .releasing)
            first.store(new, ordering: .releasing)
            return Entry(slot: new)
        }
    }

    /// Removes all registered files. Safe in a signal handler, after `prepare()`.
    package static func removeAll() {
        var slot = first.load(ordering: .acquiring)
        while let current = slot {
            if let name = current.pointee.name.exchange(nil, ordering: .acquiringAndReleasing) { unlink(name) }
            slot = current.pointee.next
        }
    }

    /// Creates the lazily initialized globals, which a signal handler must not do.
    package static func prepare() {
        _ = first.load(ordering: .relaxed)
        _ = creations.load(ordering: .relaxed)
        _ = heldSignal.load(ordering: .relaxed)
    }
}

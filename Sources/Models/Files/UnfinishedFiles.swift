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

    nonisolated(unsafe) private static let first = Atomic<UnsafeMutablePointer<Slot>?>(nil)
    private static let growth = Mutex<Void>(())

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
    package static func prepare() { _ = first.load(ordering: .relaxed) }
}

// SPDX-License-Identifier: Apache-2.0
// An open HDF5 identifier with exactly one owner, which closes it on all paths.

import CHDF5

/// Owns an `hid_t`. Not copyable; closed when it goes out of scope.
struct HDF5Handle: ~Copyable {
    /// The kind of object, which determines the function that closes the identifier.
    enum Kind: Sendable { case file, group, dataset, attribute, dataspace, datatype, properties }

    let id: hid_t
    private let kind: Kind

    /// Takes ownership of `id`, which must be open.
    init(_ id: hid_t, _ kind: Kind) {
        self.id = id
        self.kind = kind
    }

    deinit { _ = Self.close(id, kind) }

    /// Closes the identifier and reports errors: closing a file writes the remaining buffers of HDF5.
    ///
    /// - Throws: `HDF5Error.failed`; `FileError.writeFailed` if a system call failed.
    consuming func close(at location: HDF5Location) throws {
        let id = id
        let kind = kind
        discard self
        try location.call(HDF5Operation.close) { Self.closeUnlocked(id, kind) }
    }

    private static func close(_ id: hid_t, _ kind: Kind) -> herr_t {
        HDF5Location.locked { closeUnlocked(id, kind) }
    }

    private static func closeUnlocked(_ id: hid_t, _ kind: Kind) -> herr_t {
        switch kind {
        case .file: H5Fclose(id)
        case .group: H5Gclose(id)
        case .dataset: H5Dclose(id)
        case .attribute: H5Aclose(id)
        case .dataspace: H5Sclose(id)
        case .datatype: H5Tclose(id)
        case .properties: H5Pclose(id)
        }
    }
}

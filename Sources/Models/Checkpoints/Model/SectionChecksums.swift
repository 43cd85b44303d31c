// SPDX-License-Identifier: Apache-2.0
// The checksums of the groups of a packed file, in the attribute crc32 of the group. Packed layers have separate
// checksums. HDF5 has checksums of its structure, but not of the elements of datasets.
//
//     crc32(for each dataset, by key:  key in UTF-8, then crc32(elements as stored) in four bytes, lowest first)

import Files

/// The checksums of the datasets of each group, as they are written or read.
struct SectionChecksums {
    private var datasets: [String: [String: UInt32]] = [:]

    /// Adds the checksum of a tensor. Tensors of packed layers are ignored, because each layer has a checksum.
    mutating func add(_ key: String, in section: CheckpointSection, _ checksum: UInt32) {
        guard !section.group.hasPrefix(CheckpointName.packed + "/") else { return }
        datasets[section.group, default: [:]][key] = checksum
    }

    /// Adds the checksum of the document with the absolute path `path`.
    mutating func add(document path: String, _ text: String) {
        let parts = path.split(separator: "/", maxSplits: 1)
        datasets["/" + parts[0], default: [:]][String(parts[1])] = CRC32.checksum(of: Array(text.utf8))
    }

    /// The groups with datasets, and their checksums.
    var groups: [(group: String, checksum: UInt32)] {
        datasets.sorted { byBytes($0.key, $1.key) }.map { group, found in
            let bytes = found.sorted { byBytes($0.key, $1.key) }.flatMap { key, checksum in
                Array(key.utf8) + (0..<4).map { UInt8(truncatingIfNeeded: checksum >> (8 * $0)) }
            }
            return (group, CRC32.checksum(of: bytes))
        }
    }
}

extension CheckpointReader {
    /// Checks the checksums of a packed file, and that it contains no other groups and tensors.
    ///
    /// - Throws: `HDF5Error.attribute` if a checksum is missing, `.object` if a checksum is wrong or packed files do
    ///   not have the group; `CheckpointError.unusedKeys`.
    func checkSections() throws {
        var found = SectionChecksums()
        for (path, text) in header.documents { found.add(document: path, text) }
        for part in storedSections {
            guard let tensors = section(part) else { continue }
            if let component = header.configs.keys.first(where: { part == .packed($0) }) {
                try checkPackedKeys(tensors.keys, of: component)
                continue
            }
            guard part == .timeFeatures || header.configs.keys.contains(where: { part == .component($0) }) else {
                throw HDF5Error.object(
                    file: path, object: part.group,
                    fault: .value(expected: "a group of packed files", found: "another group"))
            }
            for key in tensors.keys {
                found.add(key, in: part, CRC32.checksum(of: try tensors.storedBytes(key)))
            }
        }
        for (group, checksum) in found.groups {
            let written = try integer(CheckpointName.checksum, of: group)
            guard written == Int(checksum) else {
                throw HDF5Error.object(
                    file: path, object: group,
                    fault: .value(
                        expected: "the checksum \(written)",
                        found: "\(checksum); the file is damaged"))
            }
        }
    }

    private func checkPackedKeys(_ keys: [String], of component: String) throws {
        let layers = Set(packedLayers(of: component))
        for key in keys {
            let parts = key.split(separator: ".")
            let layer = parts.dropLast().joined(separator: ".")
            guard layers.contains(layer),
                [CheckpointName.codes, CheckpointName.scale].contains(String(parts.last ?? ""))
            else { throw CheckpointError.unusedKeys(file: path, keys: [key]) }
        }
    }
}

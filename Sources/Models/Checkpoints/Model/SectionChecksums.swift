// SPDX-License-Identifier: Apache-2.0
// What tells damage in a packed file outside of its packed layers: one checksum for all datasets of a group, in the group's
// attribute crc32. (HDF5 itself guards its own structure, not the elements of datasets.)
//
//     crc32(for each dataset, by key:  key in UTF-8, then crc32(elements as stored) in four bytes, lowest first)

import Files

/// The checksums of the datasets of each group, as they are written or read.
struct SectionChecksums {
    /// The groups that have a checksum; packed layers have one each.
    static let sections: [CheckpointSection] = [.unet, .timeFeatures, .textEncoder]

    private var datasets: [CheckpointSection: [String: UInt32]] = [:]

    mutating func add(_ key: String, in section: CheckpointSection, _ checksum: UInt32) {
        guard Self.sections.contains(section) else { return }
        datasets[section, default: [:]][key] = checksum
    }

    /// The groups that hold datasets, with their checksums.
    var groups: [(section: CheckpointSection, checksum: UInt32)] {
        Self.sections.compactMap { section in
            datasets[section].map { found in
                let bytes = found.sorted { byBytes($0.key, $1.key) }.flatMap { key, checksum in
                    Array(key.utf8) + (0..<4).map { UInt8(truncatingIfNeeded: checksum >> (8 * $0)) }
                }
                return (section, CRC32.checksum(of: bytes))
            }
        }
    }
}

extension CheckpointReader {
    /// Checks the groups of a packed file against their checksums.
    ///
    /// - Throws: `CheckpointError.attribute` where one has none, `.object` where elements are not those that were written.
    func checkSections() throws {
        for part in [CheckpointSection.quantization, .training, .clip] where section(part) != nil {
            throw CheckpointError.object(
                file: path, object: part.group,
                fault: .value(expected: "no such group in a packed file", found: "one"))
        }
        let layers = Set(packedLayers)
        for key in section(.packed)?.keys ?? [] {
            let parts = key.split(separator: ".")
            let layer = parts.dropLast().joined(separator: ".")
            guard layers.contains(layer),
                [CheckpointName.codes, CheckpointName.scale].contains(String(parts.last ?? ""))
            else { throw CheckpointError.unusedKeys(file: path, keys: [key]) }
        }
        var found = SectionChecksums()
        for part in SectionChecksums.sections {
            guard let tensors = section(part) else { continue }
            for key in tensors.keys {
                found.add(key, in: part, CRC32.checksum(of: try tensors.storedBytes(key)))
            }
        }
        for (part, checksum) in found.groups {
            let written = try integer(CheckpointName.checksum, of: part.group)
            guard written == Int(checksum) else {
                throw CheckpointError.object(
                    file: path, object: part.group,
                    fault: .value(
                        expected: "tensors with the checksum \(written)",
                        found: "some with \(checksum); the file is damaged"))
            }
        }
    }
}

// SPDX-License-Identifier: Apache-2.0
// The size of a packed checkpoint, computed from its contents without writing it.

/// An upper bound of the bytes of a packed checkpoint in addition to the elements of its tensors: the documents of the
/// header, and the HDF5 structure. It exceeds the exact number by about 50 bytes per object, and by the difference
/// between `manifestBytes` and the size of the manifest.
public struct CheckpointOverhead {
    /// The assumed size of the manifest, whose length depends on the command line.
    public static let manifestBytes = 4096

    private let component: String
    /// The bytes of documents and datasets.
    private var objectBytes = 0
    /// The sizes of the messages of each group (links and attributes), by path.
    private var groups: [String: [Int]] = [:]

    /// A file with this header and without tensors. The size of the manifest is replaced by `manifestBytes`.
    public init(header: CheckpointHeader) {
        component = header.component
        addSection("/")
        let texts = [
            (CheckpointName.format, header.format.rawValue), (CheckpointName.architecture, header.architecture),
            (CheckpointName.component, header.component), (CheckpointName.tokenizer, header.tokenizer ?? ""),
        ]
        for (name, text) in texts { groups["/", default: []].append(attribute(name, bytes: text.utf8.count)) }
        groups["/", default: []].append(attribute(CheckpointName.version))
        addSection(CheckpointName.header)
        if !header.tokenizers.isEmpty { addSection(CheckpointName.tokenizers) }
        for (path, text) in header.documents {
            let isManifest = path == CheckpointName.document(CheckpointName.manifest)
            addDataset(path, rank: 0)
            objectBytes += isManifest ? Self.manifestBytes : text.utf8.count
        }
        for name in header.configs.keys { addSection(CheckpointSection.component(name).group) }
    }

    /// The bound in bytes.
    public var bytes: Int {
        groups.values.reduce(HDF5Size.superblock + objectBytes) { $0 + HDF5Size.group(messages: $1) }
    }

    /// Adds a tensor of a component; nil: of the main component.
    public mutating func addTensor(_ key: String, of component: String? = nil, rank: Int) {
        addDataset(CheckpointSection.component(component ?? self.component).object(key), rank: rank)
    }

    /// Adds a packed layer of a component, whose weight has `rank` axes; nil: of the main component.
    public mutating func addPackedLayer(_ layer: String, of component: String? = nil, rank: Int) {
        let section = CheckpointSection.packed(component ?? self.component)
        addDataset(
            section.object(layer + "." + CheckpointName.codes), rank: 1,
            attributes: [
                attribute(CheckpointName.bits), attribute(CheckpointName.levels), attribute(CheckpointName.encoding),
                attribute(CheckpointName.shape, bytes: 8 * rank, rank: 1), attribute(CheckpointName.checksum),
            ])
        addDataset(section.object(layer + "." + CheckpointName.scale), rank: 1)
    }

    /// Adds cached time features of the residual blocks `paths`.
    public mutating func addTimeFeatures(_ paths: [String]) {
        addSection(CheckpointSection.timeFeatures.group)
        addDataset(CheckpointSection.timeFeatures.object(CheckpointName.timesteps), rank: 1)
        for path in paths { addDataset(CheckpointSection.timeFeatures.object(path), rank: 2) }
    }

    /// A group with a checksum.
    private mutating func addSection(_ group: String) {
        addGroup(group)
        groups[group, default: []] += [HDF5Size.attributeInfo, attribute(CheckpointName.checksum)]
    }

    private func attribute(_ name: String, bytes: Int = 8, rank: Int = 0) -> Int {
        HDF5Size.attribute(nameBytes: name.utf8.count, bytes: bytes, rank: rank)
    }

    private mutating func addDataset(_ path: String, rank: Int, attributes: [Int] = []) {
        addLink(path)
        objectBytes += HDF5Size.dataset(rank: rank, attributes: attributes)
    }

    private mutating func addGroup(_ path: String) {
        guard groups[path] == nil else { return }
        groups[path] = []
        if path != "/" { addLink(path) }
    }

    /// Adds the link to an object, and its parent groups.
    private mutating func addLink(_ path: String) {
        let parts = path.split(separator: "/")
        let parent = "/" + parts.dropLast().joined(separator: "/")
        addGroup(parent)
        groups[parent, default: []].append(HDF5Size.link(nameBytes: parts.last?.utf8.count ?? 0))
    }
}

// SPDX-License-Identifier: Apache-2.0
// Merges the tables of one analysis that was split over several processes: written by `analyze --shard`, read by
// `merge`.

/// A table with the name of its file for messages.
public struct NamedSensitivityTable: Sendable {
    public let name: String
    public let table: SensitivityTable

    /// Names a table.
    public init(name: String, table: SensitivityTable) {
        self.name = name
        self.table = table
    }
}

extension SensitivityTable {
    /// The union of the layers of `shards`, with newly computed correlations. Model, inventory and settings are those
    /// of the shards, so that the result equals the table of one analysis of all layers except for the manifest, which
    /// the caller sets.
    ///
    /// - Parameter shards: one or more tables; a layer that two of them list must be equal in both.
    /// - Returns: the table, its layers sorted by path, without a manifest.
    /// - Throws: `RecipeError.inFile` with the name of the first table that does not match those before it, around
    ///   `.otherAnalysis` naming the field; `.malformed` if there is no table.
    public static func merged(_ shards: [NamedSensitivityTable]) throws(RecipeError) -> SensitivityTable {
        guard let first = shards.first else {
            throw .malformed(location: "tables", reason: "expected one or more, found none")
        }
        var layers: [LayerID: (layer: LayerSensitivity, file: String)] = [:]
        for shard in shards {
            do throws(RecipeError) {
                try shard.table.requireSameAnalysis(as: first)
                for layer in shard.table.layers {
                    if let known = layers[layer.path] {
                        try requireEqual(known.layer, layer, layer.path.rawValue, file: known.file)
                    } else {
                        layers[layer.path] = (layer, shard.name)
                    }
                }
            } catch {
                throw .inFile(name: shard.name, error)
            }
        }
        var merged = SensitivityTable(
            layers: layers.values.map(\.layer).sorted { $0.path < $1.path }, model: first.table.model,
            inventory: first.table.inventory, generation: first.table.generation)
        merged.correlations = merged.measuredCorrelations()
        return merged
    }

    /// The quantized layers of the inventory that this table does not list, by path; none without an inventory.
    public var unlistedLayers: [LayerID] {
        let listed = Set(layers.map(\.path))
        return (inventory?.quantizedLayers ?? []).map(\.path).filter { !listed.contains($0) }
    }

    /// Checks everything that the shards of one analysis share. The model's path may differ: each process may read a
    /// copy.
    private func requireSameAnalysis(as first: NamedSensitivityTable) throws(RecipeError) {
        let (other, file) = (first.table, first.name)
        try requireEqual(other.model?.sha256, model?.sha256, "model.sha256", file: file)
        try requireEqual(
            other.manifest?.toolVersion, manifest?.toolVersion, "manifest.toolVersion", file: file)
        try requireEqual(other.generation, generation, "generation", file: file)
        try requireEqual(other.inventory, inventory, "inventory", file: file)
    }
}

/// Checks that a part of two documents is equal.
///
/// - Throws: `RecipeError.otherAnalysis` naming the first field that differs.
private func requireEqual<Part: Encodable & Equatable>(
    _ expected: Part, _ found: Part, _ field: String, file: String
) throws(RecipeError) {
    guard expected != found else { return }
    let difference = DocumentDifference(between: expected, and: found)
    throw .otherAnalysis(
        field: field + (difference?.field ?? ""), expected: difference?.expected ?? "another value",
        file: file,
        found: difference?.found ?? "this one")
}

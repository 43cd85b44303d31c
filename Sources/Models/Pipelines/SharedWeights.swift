// SPDX-License-Identifier: Apache-2.0
// Frozen 16-bit weights that the processes of one machine hold once: the first of them copies its weights to memory
// without a name in the file system, which the others map. The memory exists as long as a process maps it, however the
// processes end.

import CFileSystem
import Communication
import Files
import Foundation
import Layers
import Tensors

extension ParameterStore {
    /// Replaces the 16-bit weights of the layers by those of one process of each machine. Their values must be the same
    /// in all processes. Processes that cannot map the memory of another, such as those in other containers, keep their
    /// own weights.
    ///
    /// - Returns: whether this process's weights are shared with others.
    /// - Throws: `PeerFailure`.
    @discardableResult
    public func shareWeights(between communicator: any Communicator) throws -> Bool {
        guard communicator.size > 1 else { return false }
        // Process numbers and memory are those of a machine, or of a container on it.
        let place =
            (Self.text("/proc/sys/kernel/random/boot_id") ?? "\(communicator.rank)") + Self.link("/proc/self/ns/pid")
        let places = try communicator.gather(Array(place.utf8))
        let members = places.indices.filter { places[$0] == places[communicator.rank] }
        let isOwner = members.first == communicator.rank
        let weights = weightedLayers.compactMap { $0.weight as? Weight16 }
        var region = isOwner && members.count > 1 ? SharedRegion(copying: weights) : nil
        // The number of this process as others see it in /proc.
        let offer = region.map { "/proc/\(Self.link("/proc/self"))/fd/\($0.descriptor)" } ?? ""
        let offers = try communicator.gather(Array(offer.utf8)).map { String(decoding: $0, as: UTF8.self) }
        if !isOwner, let owner = members.first { region = SharedRegion(mapping: offers[owner], of: weights) }
        // The owner closes its descriptor when the others have mapped the memory.
        let isShared = try communicator.gather([region == nil ? 0 : 1])
        region?.closeDescriptor()
        guard let region, members.count(where: { isShared[$0] == [1] }) > 1 else { return false }
        region.replaceWeights(of: weightedLayers)
        return true
    }

    private static func text(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }

    private static func link(_ path: String) -> String {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: path)) ?? ""
    }
}

/// The bits of several weights, one after the other, in memory that other processes can map.
private final class SharedRegion: @unchecked Sendable {
    /// -1 after `closeDescriptor`.
    private(set) var descriptor: Int32
    private var bytes = UnsafeRawBufferPointer(start: nil, count: 0)
    /// Weights start at multiples of a cache line.
    private static let alignment = 64

    /// Copies weights to new memory; nil where the system has none for it.
    init?(copying weights: [Weight16]) {
        let size = Self.size(of: weights)
        descriptor = bf_memory_file("bitsfusion-weights")
        guard size > 0, descriptor >= 0, ftruncate(descriptor, off_t(size)) == 0 else { return nil }
        var offset = 0
        for weight in weights {
            let isWritten = weight.withUnsafeBits { bits in
                writeAll(UnsafeRawBufferPointer(bits), to: descriptor, at: offset) == 0
            }
            guard isWritten else { return nil }
            offset += Self.size(of: [weight])
        }
        guard let bytes = Self.mapped(descriptor, size) else { return nil }
        self.bytes = bytes
    }

    /// Maps the memory that another process has filled with weights of the same shapes.
    init?(mapping path: String, of weights: [Weight16]) {
        descriptor = open(path, O_RDONLY | O_CLOEXEC)
        let size = Self.size(of: weights)
        var status = stat()
        guard descriptor >= 0, fstat(descriptor, &status) == 0, Int(status.st_size) == size,
            let bytes = Self.mapped(descriptor, size)
        else { return nil }
        self.bytes = bytes
    }

    deinit {
        closeDescriptor()
        if let address = bytes.baseAddress { munmap(UnsafeMutableRawPointer(mutating: address), bytes.count) }
    }

    /// Closes the descriptor; the memory stays mapped.
    func closeDescriptor() {
        if descriptor >= 0 { close(descriptor) }
        descriptor = -1
    }

    /// Replaces the 16-bit weights of layers by those of this memory.
    func replaceWeights(of layers: [any WeightedLayer]) {
        var offset = 0
        for layer in layers {
            guard let weight = layer.weight as? Weight16 else { continue }
            let count = weight.shape.reduce(1, *)
            let bits = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + 2 * count])
            layer.weight = Weight16(
                name: weight.name, mapped: bits.bindMemory(to: UInt16.self), owner: self, shape: weight.shape,
                type: weight.type)
            offset += Self.size(of: [weight])
        }
    }

    private static func size(of weights: [Weight16]) -> Int {
        weights.reduce(0) { total, weight in
            let size = 2 * weight.shape.reduce(1, *)
            return total + (size + alignment - 1) / alignment * alignment
        }
    }

    private static func mapped(_ descriptor: Int32, _ size: Int) -> UnsafeRawBufferPointer? {
        guard size > 0, let address = mmap(nil, size, PROT_READ, MAP_SHARED, descriptor, 0), address != MAP_FAILED
        else { return nil }
        return UnsafeRawBufferPointer(start: address, count: size)
    }
}

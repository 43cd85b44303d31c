// SPDX-License-Identifier: Apache-2.0
// Upper bounds of the bytes of objects in files that `HDF5File.create` creates: version 2 object headers without times,
// links in the headers of their groups, contiguous datasets, no reserved blocks. Follows the HDF5 File Format
// Specification 3.0, sections II.A (superblock) and IV.A (object headers), and the space that HDF5 1.10 reserves.
//
//     object header   "OHDR" 4, version 1, flags 1, size 1..4, messages, checksum 4
//     message         type 1, size 2, flags 1, body
//     continuation    a message with a body of 16 bytes that leads to a chunk: "OCHK" 4, messages, checksum 4

/// The sizes of HDF5 objects in bytes.
enum HDF5Size {
    static let superblock = 48
    private static let objectHeader = 14
    private static let messageHeader = 4
    /// A message that does not fit into the header of its object is stored in a separate chunk. HDF5 may move another
    /// message there too, which leaves a gap in the header.
    private static let chunk = messageHeader + 16 + 8 + 12

    /// A group with its messages (links and attributes), without its members.
    static func group(messages: [Int]) -> Int {
        let info = messageHeader + 18 + messageHeader + 4
        // Reserved by HDF5: four links with names of eight bytes.
        let reserved = 4 * (messageHeader + 11 + 8)
        let total = messages.reduce(0, +)
        return objectHeader + info + reserved + (total <= reserved ? 0 : total + messages.count * chunk)
    }

    /// The message that links to an object.
    static func link(nameBytes: Int) -> Int { messageHeader + 12 + nameBytes }

    /// The message that precedes the first attribute of an object.
    static let attributeInfo = messageHeader + 18

    /// The message of an attribute: `bytes` of numbers or text, a scalar, or a list for rank 1.
    static func attribute(nameBytes: Int, bytes: Int, rank: Int = 0) -> Int {
        messageHeader + 9 + nameBytes + 1 + 12 + dataspace(rank: rank) + bytes
    }

    /// A dataset with its attributes, without its elements.
    static func dataset(rank: Int, attributes: [Int] = []) -> Int {
        let datatype = messageHeader + 20
        let fillValue = messageHeader + 2
        let layout = messageHeader + 18
        // Reserved by HDF5 in headers that are never extended.
        let reserved = 20
        let bytes = objectHeader + messageHeader + dataspace(rank: rank) + datatype + fillValue + layout + reserved
        if attributes.isEmpty { return bytes }
        // Headers of datasets that can have attributes have at least 256 bytes, and at most two chunks.
        return max(attributes.reduce(bytes + attributeInfo, +), 256) + 2 * chunk
    }

    private static func dataspace(rank: Int) -> Int { 4 + 16 * rank }
}

// SPDX-License-Identifier: Apache-2.0
// SHA-256 of files, which identifies the inputs of a run in manifests. Computed by libcrypto, which uses the
// instructions of the CPU, in blocks of 1 MiB.

import CCrypto
import Foundation

/// SHA-256 as 64 lower-case hexadecimal digits, as in the output of `sha256sum`.
public enum FileDigest {
    /// The digest of the content of a file.
    ///
    /// - Throws: `FileError.missingFile` or `.unreadable`.
    public static func sha256(ofFile path: String) throws(FileError) -> String {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC)
        guard descriptor >= 0 else { throw .readFailure(path, errno) }
        defer { close(descriptor) }
        let hash = SHA256Stream()
        let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 20, alignment: 64)
        defer { buffer.deallocate() }
        while true {
            let count = Foundation.read(descriptor, buffer.baseAddress, buffer.count)
            if count < 0 {
                if errno == EINTR { continue }
                throw .readFailure(path, errno)
            }
            if count == 0 { return hash.finish() }
            hash.update(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
        }
    }

    /// The digest of bytes in memory.
    public static func sha256(of bytes: some ContiguousBytes) -> String {
        let hash = SHA256Stream()
        bytes.withUnsafeBytes { hash.update($0) }
        return hash.finish()
    }
}

/// The state of a hash. Traps if libcrypto cannot allocate memory, or if the policy of the system disables SHA-256.
private final class SHA256Stream {
    private let context: OpaquePointer

    init() {
        guard let created = EVP_MD_CTX_new(), EVP_DigestInit_ex(created, EVP_sha256(), nil) == 1 else {
            preconditionFailure("SHA-256: libcrypto offers no SHA-256 on this system")
        }
        context = created
    }

    deinit { EVP_MD_CTX_free(context) }

    func update(_ bytes: UnsafeRawBufferPointer) {
        precondition(EVP_DigestUpdate(context, bytes.baseAddress, bytes.count) == 1, "SHA-256: update failed")
    }

    func finish() -> String {
        var digest = [UInt8](repeating: 0, count: Int(EVP_MAX_MD_SIZE))
        var count: UInt32 = 0
        precondition(EVP_DigestFinal_ex(context, &digest, &count) == 1, "SHA-256: finish failed")
        return digest.prefix(Int(count)).map { byte in
            let text = String(byte, radix: 16)
            return byte < 16 ? "0" + text : text
        }.joined()
    }
}

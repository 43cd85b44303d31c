// SPDX-License-Identifier: Apache-2.0
// SHA-256 of files, for manifests: which inputs made this output. Hashing is libcrypto's (it uses the CPU's own
// instructions), streaming, so that a file of any size takes 1 MiB of memory.

import CCrypto
import Foundation

/// SHA-256, as 64 lower-case hexadecimal digits (what `sha256sum` prints).
public enum FileDigest {
    /// The digest of a file's content.
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

/// One running hash. Its calls fail only when libcrypto cannot allocate or its SHA-256 is switched off by the system's
/// policy, and neither leaves anything sensible to do: both trap.
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

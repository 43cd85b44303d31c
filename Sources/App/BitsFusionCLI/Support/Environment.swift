// SPDX-License-Identifier: Apache-2.0
// Checks of what the program gets besides its options: environment variables, and the encoding of its arguments.

import BitsFusion
import Foundation

enum Environment {
    /// Checks the variables that the library reads, which has no way to report a wrong value.
    ///
    /// - Throws: `CommandError`.
    static func check() throws {
        if let value = value("BITSFUSION_THREADS"), Threads.count(from: value) == nil {
            let range = Threads.countRange
            throw CommandError(
                .usage,
                "BITSFUSION_THREADS: expected \(range.lowerBound) to \(range.upperBound), found \(value.shortened); "
                    + "correct or unset it")
        }
        if let value = value("BITSFUSION_KERNELS"), !hasKernels(named: value) {
            throw CommandError(
                .usage,
                "BITSFUSION_KERNELS: expected portable, avx2 or avx512 as far as this processor has them, found "
                    + "\(value.shortened); correct or unset it")
        }
    }

    /// Checks that the arguments are UTF-8. Swift would replace other bytes, and a file of another name be read or
    /// written.
    ///
    /// - Throws: `CommandError`.
    static func checkArguments() throws {
        for index in 1..<max(Int(CommandLine.argc), 1) {
            guard let argument = CommandLine.unsafeArgv[index] else { return }
            guard String(validatingCString: argument) == nil else { continue }
            throw CommandError(
                .usage,
                "argument \(index): expected text in UTF-8, found other bytes; rename the file or correct the text")
        }
    }

    /// The value of a variable; nil if it is not set or empty.
    private static func value(_ name: String) -> String? {
        getenv(name).map { String(cString: $0) }.flatMap { $0.isEmpty ? nil : $0 }
    }
}

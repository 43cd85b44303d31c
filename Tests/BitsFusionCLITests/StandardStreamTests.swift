// SPDX-License-Identifier: Apache-2.0
// Standard output that cannot be written, is closed, or is a pipe whose reader ends early; arguments and environment
// variables that are wrong whatever the command is.

import Foundation
import TestKit
import Testing

@Suite struct StandardStreamTests {
    @Test(
        "a failed write to standard output is exit 74 in one line",
        arguments: ["version", "--help", "info config.json --json", "info config.json"], [">&-", ">/dev/full"])
    func failure(command: String, redirection: String) throws {
        // macOS has no /dev/full.
        guard redirection == ">&-" || FileManager.default.fileExists(atPath: "/dev/full") else { return }
        let folder = try TemporaryFolder()
        try folder.write("config.json", TinyModel.latentJSON)
        let run = try folder.run(shell: "\"$0\" \(command) \(redirection)")
        #expect(run.status == 74 && run.errorLines.count == 1, "\(run.errors)")
        #expect(run.errors.contains("standard output: writing failed"), "\(run.errors)")
    }

    @Test("files that were written stay, and no file becomes a closed standard output")
    func writtenFiles() throws {
        let folder = try TemporaryFolder()
        try folder.write("config.json", TinyModel.latentJSON)
        let run = try folder.run(shell: "\"$0\" init --config config.json -o model.h5 >&-")
        #expect(run.status == 74 && run.errors.contains("files that were written are not"), "\(run.errors)")
        #expect(folder.names == ["config.json", "model.h5"])
        #expect(try folder.run("info", "model.h5").status == 0)
    }

    @Test("a reader that ends early is no error, and leaves no lock")
    func earlyEnd() throws {
        let folder = try TemporaryFolder()
        try folder.write("config.json", TinyModel.latentJSON)
        let run = try folder.run(
            shell: """
                { sleep 0.2; "$0" init --config config.json -o model.h5; echo $? >status; } | true
                { sleep 0.2; "$0" info model.h5 --json; echo $? >>status; } | true
                """)
        #expect(run.errors.isEmpty)
        #expect(try String(decoding: folder.data("status"), as: UTF8.self) == "0\n0\n")
        #expect(folder.names == ["config.json", "model.h5", "status"])
    }

    @Test(
        "a variable with a wrong value is a usage error of every command",
        arguments: [
            ("BITSFUSION_THREADS", ["abc", "0", "-3", "2000", "99999999999999999999"]),
            ("BITSFUSION_KERNELS", ["wide", "AVX2"]),
        ])
    func environment(name: String, values: [String]) throws {
        let folder = try TemporaryFolder()
        for value in values {
            let run = try folder.run(shell: "\(name)=\(value) \"$0\" version")
            #expect(run.status == 64 && run.output.isEmpty && run.errorLines.count == 1)
            #expect(
                run.errors.contains("\(name): expected ") && run.errors.contains("found \(value);"), "\(run.errors)")
        }
        #expect(try folder.run(shell: "BITSFUSION_THREADS=1024 BITSFUSION_KERNELS=portable \"$0\" version").status == 0)
        #expect(try folder.run(shell: "BITSFUSION_THREADS= BITSFUSION_KERNELS= \"$0\" version").status == 0)
    }

    @Test("arguments that are not UTF-8 are refused by their position")
    func encoding() throws {
        let folder = try TemporaryFolder()
        let run = try folder.run(shell: "\"$0\" init --config config.json -o \"$(printf 'a\\377.h5')\"")
        #expect(run.status == 64 && run.errors.contains("argument 5: expected text in UTF-8"), "\(run.errors)")
        #expect(folder.names.isEmpty)
    }

    #if os(Linux)
        @Test("the program ends where memory is short")
        func memoryLimit() throws {
            let run = try TemporaryFolder().run(shell: "ulimit -v 300000; timeout 60 \"$0\" version")
            // Without memory for OpenBLAS's threads the program may fail, but ends.
            #expect(run.status != 124)
        }
    #endif
}

// SPDX-License-Identifier: Apache-2.0
// The names that a command will write, also numbered ones and those beside an output: none is an input, the output of
// another run, or that of another option.

import BitsFusion
import Foundation
import TestKit
import Testing

@Suite struct OutputNameTests {
    /// A folder with sd1.h5, a latent model with text encoder and VAE.
    private func pipelineFolder() throws -> TemporaryFolder {
        let folder = try TemporaryFolder()
        let source = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
            .appendingPathComponent("../PipelinesTests/Fixtures/pipelines/sd1").standardizedFileURL.path
        let run = try folder.run("import", source, "-o", "sd1.h5")
        try #require(run.status == 0, "\(run.errors)")
        return folder
    }

    private func copy(_ folder: TemporaryFolder, _ from: String, _ to: String) throws {
        try FileManager.default.copyItem(atPath: folder.file(from), toPath: folder.file(to))
    }

    private func refused(_ folder: TemporaryFolder, _ command: String, _ status: Int32, _ text: String) throws {
        let before = folder.names
        let run = try folder.run(command.split(separator: " ").map(String.init))
        #expect(run.status == status && run.errorLines.count == 1, "\(command)")
        #expect(run.errors.contains(text), "\(run.errors)")
        #expect(folder.names == before)
    }

    @Test("numbered images are checked against inputs, other outputs and other runs", .slow)
    func numberedImages() throws {
        let folder = try pipelineFolder()
        try copy(folder, "sd1.h5", "a-1.png")
        try refused(
            folder, "sample a-1.png --prompt cat --count 2 -o a.png", 64, "a-1.png: is an input")
        try refused(
            folder, "sample sd1.h5 --prompt cat --count 2 -o b.png --save-latents b-2.png", 64,
            "b-2.png: is the name of two outputs")
        try refused(
            folder, "sample sd1.h5 --prompt cat -o b.png --save-latents ./b.png", 64,
            "./b.png: is the name of two outputs")
        let lock = try OutputLock(folder.file("b-2.png"))
        try refused(
            folder, "sample sd1.h5 --prompt cat --count 2 -o b.png", 73, "b-2.png: another run is writing to it")
        withExtendedLifetime(lock) {}
    }

    @Test("two outputs of one command have different names")
    func twoOutputs() throws {
        try refused(
            TemporaryFolder(), "evaluate shapes -o e.json --grid ./e.json", 64, "e.json: is the name of two outputs")
    }

    @Test("files with the names of locks and of partial tables are kept")
    func otherFiles() throws {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try folder.makeEmbeddings()
        try copy(folder, "model.h5", "x.png.lock")
        try copy(folder, "model.h5", "x.partial")
        try refused(
            folder, "sample x.png.lock --embeddings e.safetensors -o x.png", 73,
            "x.png.lock: expected an empty lock file or none")
        try refused(
            folder, "analyze x.partial --embeddings e.safetensors -o x --overwrite", 64, "x.partial: is an input")
        #expect(try folder.data("x.png.lock") == folder.data("model.h5"))
        #expect(try folder.data("x.partial") == folder.data("model.h5"))
    }

    @Test("a folder is one output however its path is spelled")
    func exportFolder() throws {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        let writer = try DiffusersFolderWriter(folder.file("ex"))
        for name in ["ex", "./ex/"] {
            try refused(folder, "export model.h5 -o \(name)", 73, "\(name): another run is writing to it")
        }
        withExtendedLifetime(writer) {}
        let empty = try folder.run("export", "model.h5", "-o", "")
        #expect(empty.status == 64 && empty.errors.contains("--output: expected a file name"), "\(empty.errors)")
    }
}

// SPDX-License-Identifier: Apache-2.0
// Outputs beyond the limit of file sizes (`ulimit -f`), whose signal would end the program.

import TestKit
import Testing

@Suite struct FileSizeLimitTests {
    @Test("an output beyond the file size limit is exit 74, says so, and leaves nothing behind")
    func limit() throws {
        let folder = try TemporaryFolder()
        try folder.write("unet.json", TinyModel.latentJSON)
        let result = try folder.run(["init", "--config", "unet.json", "-o", "model.h5", "-q"], fileLimit: 16)
        #expect(result.status == 74, "\(result.errors)")
        #expect(result.errorLines.count == 1 && result.errors.contains("model.h5"))
        #expect(result.errors.contains("no file was written"))
        #expect(folder.names == ["unet.json"])
        try folder.write("model.h5", "previous")
        let again = try folder.run(["init", "--config", "unet.json", "-o", "model.h5", "-q"], fileLimit: 16)
        #expect(again.status == 74 && again.errors.contains("the previous file is unchanged"), "\(again.errors)")
        #expect(try folder.bytes("model.h5") == Array("previous".utf8))
    }

    @Test("a table beyond the limit is exit 74; the measurements are kept, and --resume continues with them", .slow)
    func table() throws {
        let folder = try TemporaryFolder()
        try folder.makeModel()
        try folder.makeEmbeddings()
        let arguments = [
            "analyze", "model.h5", "--embeddings", "e.safetensors", "--measure", "fisher", "--layers", "^conv_in$",
            "--steps", "2", "-q",
        ]
        let result = try folder.run(arguments, fileLimit: 4)
        #expect(result.status == 74, "\(result.errors)")
        #expect(result.errorLines.count == 1 && result.errors.contains("sensitivity.json.partial"))
        #expect(!folder.names.contains("sensitivity.json"))
        let resumed = try folder.run(arguments + ["--resume"])
        #expect(resumed.status == 0, "\(resumed.errors)")
        #expect(folder.names == ["config.json", "e.safetensors", "model.h5", "recipe.json", "sensitivity.json"])
    }
}

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
        #expect(folder.names == ["unet.json"])
    }
}

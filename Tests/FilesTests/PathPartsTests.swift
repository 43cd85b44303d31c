// SPDX-License-Identifier: Apache-2.0

import Testing

@testable import Checkpoints
@testable import Files

@Suite struct PathPartsTests {
    @Test(
        "paths of every length come apart",
        arguments: [
            ("R", "", "R", "R"), ("a.h5", "", "a.h5", "a"), ("b/a.tar.gz", "b", "a.tar.gz", "a.tar"),
            ("/a", "/", "a", "a"), ("./.hidden", ".", ".hidden", ".hidden"), ("", "", "", ""),
            ("x/", "x", "", ""),
        ])
    func parts(path: String, folder: String, name: String, stem: String) {
        let parts = PathParts(path)
        #expect(parts.folder == folder && parts.name == name && parts.stem == stem)
    }

    @Test("siblings lie in the same folder") func siblings() {
        #expect(PathParts("R").sibling("b") == "b")
        #expect(PathParts("/R").sibling("b") == "/b")
        #expect(PathParts("a/R").sibling("b") == "a/b")
    }
}

// SPDX-License-Identifier: Apache-2.0
// A key of a JSON object that is data (a layer path, a bit width) and not a field name.

struct DocumentKey: CodingKey {
    let stringValue: String
    var intValue: Int? { nil }

    init(_ text: String) {
        stringValue = text
    }

    init?(stringValue: String) {
        self.stringValue = stringValue
    }

    init?(intValue: Int) {
        nil
    }
}

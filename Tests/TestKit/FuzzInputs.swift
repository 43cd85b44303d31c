// SPDX-License-Identifier: Apache-2.0
// How many damaged inputs a fuzzing test tries: a few in every test run, as many as `make fuzz` asks for.

import Foundation

/// The inputs that a test tries: `few`, unless BITSFUSION_FUZZ asks for another number, of which the test has `share`.
public func fuzzInputs(_ few: Int, share: Double = 1) -> Int {
    let asked = ProcessInfo.processInfo.environment["BITSFUSION_FUZZ"].flatMap(Int.init)
    return asked.map { max(Int(Double($0) * share), 1) } ?? few
}

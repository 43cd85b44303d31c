// SPDX-License-Identifier: Apache-2.0
// Kinds of tests. `swift test` has no filter for tags, so `.slow` is a condition that reads the environment;
// the tags group tests in reports and in editors.

import Foundation
import Testing

extension Trait where Self == ConditionTrait {
    /// A test of more than a second in a release build. `make test-quick` sets BITSFUSION_TEST_QUICK and skips it.
    public static var slow: Self {
        .disabled(if: ProcessInfo.processInfo.environment["BITSFUSION_TEST_QUICK"] != nil, "slow; run `make test`")
    }
}

extension Tag {
    /// Compares results with values recorded from PyTorch, diffusers or another reference.
    @Tag public static var golden: Self
    /// Compares gradients with central differences or with recorded gradients.
    @Tag public static var gradient: Self
}

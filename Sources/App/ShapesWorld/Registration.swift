// SPDX-License-Identifier: Apache-2.0
// What the shapes world adds to the library at run time.

import BitsFusion

/// Registers the shapes world with the library.
public enum ShapesWorldRegistration {
    /// Makes the tokenizer "shapes-words" available to models that record it. Calling it again has no effect.
    public static func register() {
        TokenizerRegistry.register(ShapesTokenizer.name) { modelMaxLength in
            guard modelMaxLength >= ShapesTokenizer.leastLength else {
                throw TokenizerError.length(
                    name: ShapesTokenizer.name, minimum: ShapesTokenizer.leastLength, found: modelMaxLength)
            }
            return ShapesTokenizer(length: modelMaxLength)
        }
    }
}

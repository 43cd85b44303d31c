// SPDX-License-Identifier: Apache-2.0
// A view of a parameter store below one path prefix: `parameters / "attn1" / "to_q"`. Layers are built from it,
// so that a diffusers key is assembled in the constructors, literally, and can be found with grep.

import Tensors

/// A position in the tree of parameter keys, with the store that values come from and are registered in.
public struct ParameterPath {
    /// The store that provides and remembers what is built below this path.
    public let store: ParameterStore
    /// Diffusers path of this position, without a trailing dot; "" at the root.
    public let path: String

    /// The view of `store` below `path` ("" for the root).
    public init(_ store: ParameterStore, path: String = "") {
        self.store = store
        self.path = path
    }

    /// The position one component (or several, joined by dots) below `parent`.
    public static func / (parent: ParameterPath, child: String) -> ParameterPath {
        ParameterPath(parent.store, path: parent.path.isEmpty ? child : parent.path + "." + child)
    }

    /// The position of element `index` of a module list.
    public static func / (parent: ParameterPath, index: Int) -> ParameterPath {
        parent / String(index)
    }

    /// The full key of `leaf` at this position, e.g. "conv_in.weight".
    public func key(_ leaf: String) -> String {
        path.isEmpty ? leaf : path + "." + leaf
    }

    /// A small dense parameter (bias, norm gain), registered in the store; always Float32 in memory.
    ///
    /// - Throws: `ParameterError.shapeMismatch` when the provider's value has another shape, or the provider's error.
    public func parameter(_ leaf: String, shape: [Int], initializer: Initializer) throws -> Parameter {
        let parameter = try unregisteredParameter(leaf, shape: shape, initializer: initializer)
        store.register(parameter, key: key(leaf))
        return parameter
    }

    /// The source of a large weight, for a layer that registers itself with `ParameterStore.register(_:)`.
    ///
    /// - Throws: `ParameterError.shapeMismatch` when the provider's value has another shape, or the provider's error.
    public func weight(_ leaf: String, shape: [Int], initializer: Initializer) throws -> any WeightSource {
        let key = key(leaf)
        let source = try store.provider.weight(key, shape: shape, initializer: initializer)
        guard source.shape == shape else {
            throw ParameterError.shapeMismatch(key: key, expected: shape, found: source.shape)
        }
        return source
    }

    /// As `parameter`, for layers that register weight and bias together.
    func unregisteredParameter(_ leaf: String, shape: [Int], initializer: Initializer) throws -> Parameter {
        let source = try weight(leaf, shape: shape, initializer: initializer)
        return source as? Parameter ?? Parameter(key(leaf), source.tensor().detached())
    }
}

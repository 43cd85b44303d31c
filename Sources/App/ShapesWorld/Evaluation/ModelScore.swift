// SPDX-License-Identifier: Apache-2.0
// What one model scores: a row of the table that `bitsfusion evaluate` prints.

import BitsFusion

/// Quality and speed of one model on one set of prompts.
public struct ModelScore: Codable, Hashable, Sendable {
    /// Per family; the shares behind `compositional`.
    public var families: [CompositionalScore.Family]
    /// Mean over families of the share of images that satisfy their prompts, 0...1.
    public var compositional: Double
    public var compositionalStandardError: Double
    /// Mean cosine between images and prompts by the CLIP-proxy, -1...1; nil without one.
    public var clipScore: MeanEstimate?
    /// Fréchet distance between CLIP-proxy features of the images and of rendered scenes for the same prompts; nil
    /// without a CLIP-proxy. It falls with the number of prompts: compare rows of one table only.
    public var frechetDistance: Double?
    /// Mean squared error of the predicted noise against the reference model's; nil without a reference.
    public var noiseError: Double?
    /// Wall-clock seconds per image, guidance included.
    public var secondsPerImage: Double
}

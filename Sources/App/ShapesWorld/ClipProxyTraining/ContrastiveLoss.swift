// SPDX-License-Identifier: Apache-2.0
// The contrastive loss of the CLIP-proxy: InfoNCE in both directions, as in CLIP (Radford et al. 2021,
// arXiv:2103.00020), with hard negative captions as in NegCLIP (Yuksekgonul et al. 2023, arXiv:2210.01936). False
// negatives are left out: in a small world, several captions of a batch may fit an image. B pairs, K hard negatives per
// image, D embedding dimensions.

import BitsFusion

/// The symmetric contrastive loss over a batch of pairs.
///
///     L = ½ (mean_i CE([s i_i·c_1 ... s i_i·c_B, s i_i·h_i1 ... s i_i·h_iK], i)
///            + mean_j CE([s i_1·c_j ... s i_B·c_j], j))
///
/// where pairs (i, j) with `mayMatch` are left out of both sums.
///
/// - Parameters:
///   - images: i, `[B, D]`, rows of length 1.
///   - captions: c, `[B, D]`, rows of length 1.
///   - hardNegatives: h, `[B·K, D]`, the K false captions of the first image, then of the second, ...; nil: none.
///   - scale: s, `[1]`, > 0.
///   - mayMatch: B·B flags, row i for image i: true where caption j could be true of image i without being its
///     own; the diagonal is ignored.
/// - Returns: the loss, shape `[]`.
func contrastiveLoss(
    images: Tensor, captions: Tensor, hardNegatives: Tensor?, scale: Tensor, mayMatch: [Bool]
) -> Tensor {
    let (batch, dimensions) = (images.shape[0], images.shape[1])
    precondition(
        captions.shape == images.shape && mayMatch.count == batch * batch,
        "contrastiveLoss: images \(images.shape), captions \(captions.shape), \(mayMatch.count) flags")
    let labels = (0..<batch).map(Int32.init)
    // exp of this is 0 in Float32, whatever the other logits are.
    let excluded: Float = -1e4
    let mask = Tensor(
        mayMatch.enumerated().map { $1 && $0 / batch != $0 % batch ? excluded : 0 }, shape: [batch, batch])
    let logits = matmul(images, captions, transposeB: true) * scale + mask
    var candidates = logits
    if let hardNegatives {
        precondition(
            hardNegatives.rank == 2 && hardNegatives.shape[1] == dimensions
                && hardNegatives.shape[0] % batch == 0,
            "contrastiveLoss: hard negatives \(hardNegatives.shape) for images \(images.shape)")
        let negatives = hardNegatives.reshaped([batch, -1, dimensions])
        let cosines = (images.reshaped([batch, 1, dimensions]) * negatives).sum(axes: [2])
        candidates = Tensor.concatenated([logits, cosines * scale], axis: 1)
    }
    return
        (crossEntropy(candidates, labels: labels)
        + crossEntropy(logits.transposed(0, 1), labels: labels)) * 0.5
}

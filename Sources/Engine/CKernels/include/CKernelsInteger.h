// SPDX-License-Identifier: Apache-2.0
// Low-bit weights times activations quantized to int8, with exact int32 accumulation; one table of function pointers
// for every instruction set. No allocation, no threads, no globals but the tables.
//
// Weights are codes 0 ... L-1 in containers of 2, 4 or 8 bits, in panels of 32 outputs (drawn in integer_panels.h); the
// bytes are the same for every instruction set. Activations are int8 in -127 ... 127, with one scale and one sum per
// pixel (per token for a linear layer).
//
// Every float operation is rounded separately (no fused multiply-add), in an order that depends neither on the division
// into rows and panels nor on the vector width: all tables, including the scalar reference, compute the same bits.
//
// Pointers need no alignment (64 bytes are fastest) and must not overlap unless a comment says so.
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma clang diagnostic ignored "-Wnullability-completeness"

#ifdef __cplusplus
extern "C" {
#endif

enum {
    BF_INTEGER_PANEL = 32,          // outputs per panel
    BF_INTEGER_DEPTH = 16,          // the depth of a pixel and of a segment's codes is a multiple of it
    BF_INTEGER_MAX_INPUTS = 65536,  // no partial sum of 255 * 127 per input overflows int32
    BF_INTEGER_MAX_LEVELS = 255,    // codes of a balanced grid that fit into a byte
    BF_INTEGER_ATTENTION_KEYS = 120,  // keys of a tile, whose probabilities have one scale
    // The codes of the largest probability of a tile and of the largest value of a channel: the sum of a tile's
    // products fits into int32.
    BF_INTEGER_PROBABILITIES = 8191,
    BF_INTEGER_VALUES = 2047,
    BF_INTEGER_MAX_HEAD_DIM = 256
};

#define BF_LOG2_E 1.44269504088896341f
// The coefficients of 2^f, |f| <= 1/2, by powers of f; the largest relative error is 7.5e-5.
#define BF_EXP2_0 0.9999280571937561f
#define BF_EXP2_1 0.6932610869407654f
#define BF_EXP2_2 0.2426110804080963f
#define BF_EXP2_3 0.05517108738422394f

/// Weights of a layer: codes W[o][s][k], o < outputs, s < segments, k < inputs, with values scales[o] * (code -
/// offset).
typedef struct {
    int bits;         // of a container: 2, 4 or 8, see bf_integer_bits
    int32_t levels;   // L, 2 ... BF_INTEGER_MAX_LEVELS
    int32_t offset;   // 0 ... L - 1; (L - 1) / 2 for a balanced grid of an odd number L of levels
    size_t outputs;   // N
    size_t segments;  // S: 1 for a linear layer or a 1x1 convolution, otherwise the number of taps
    size_t inputs;    // K, at most BF_INTEGER_MAX_INPUTS
} bf_integer_shape;

/// Strides of codes or decoded weights outside of panels, in elements: {segments * inputs, 1, segments} for
/// [OC, IC, KH, KW].
typedef struct {
    size_t output, segment, input;
} bf_integer_strides;

/// Rows [first_row, first_row + rows) and panels [first_panel, first_panel + panels) of
///
///     y[r][o] = sum over s of pixel_scales[p] * (sum over k of (code - offset) * pixels[p][k]) * weight_scales[o]
///               + bias[o] + channel_bias[o] + addend[r][o],        p = row_pixel[r] + segment_step[s]
///
/// The inner sum is exact; the other sums are rounded at each addition, from left to right.
typedef struct {
    bf_integer_shape shape;
    const uint8_t *weights;      // all panels of the layer
    const float *weight_scales;  // [outputs]

    const int8_t *pixels;        // bf_integer_depth(inputs) bytes each, zeros after the inputs
    const float *pixel_scales;   // one per pixel; any finite value for a pixel of zeros
    const int32_t *pixel_sums;   // one per pixel: the sum of its values
    const int32_t *row_pixel;    // [rows of the whole product]; NULL: row r is pixel r
    const int32_t *segment_step; // [segments]; NULL: 0

    size_t first_row, rows;
    size_t first_panel, panels;

    const float *bias, *channel_bias;  // [outputs]; NULL: 0
    // Element (r, o) of y and of the addend: r * y_step + o, or o * y_step + r if channels_first.
    const float *addend;             // NULL: not added; may be y
    float *y;
    size_t y_step;
    bool channels_first;
} bf_integer_product;

/// One head of an attention without a mask, y = softmax(scale * q kT) v, on rows of `head_dim` floats, `stride` floats
/// apart:
///
///   - keys and values less their means over all keys, which the softmax and the normalized weights cancel;
///   - queries and keys in int8 with one scale per row, values in -BF_INTEGER_VALUES ... BF_INTEGER_VALUES with one
///     scale per channel;
///   - in tiles of BF_INTEGER_ATTENTION_KEYS keys, probabilities relative to the largest of the tile as integers
///     0 ... BF_INTEGER_PROBABILITIES, whose sum normalizes the weights; both products are exact in int32.
///
/// With 8 bits, probabilities next to a strong key, and values next to a large one, would be rounded to 0.
///
/// NaNs and infinities in k and v make all results NaN, those in a row of q make its results NaN.
typedef struct {
    size_t keys;      // > 0
    size_t head_dim;  // 1 ... BF_INTEGER_MAX_HEAD_DIM
    size_t stride;
    float scale;
} bf_integer_attention;

typedef struct {
    const char *_Nonnull name;  // "avx512vnni", "avx2", "portable", "reference"

    // Packs codes, each below `levels`, to the panels [first_panel, first_panel + count). `codes` and
    // `panels` are those of the whole layer. Missing outputs of the last panel and missing inputs get code 0.
    void (*_Nonnull pack_panels)(const uint8_t *codes, bf_integer_strides strides, bf_integer_shape shape,
                                 size_t first_panel, size_t count, uint8_t *panels);
    // The inverse of pack_panels.
    void (*_Nonnull unpack_panels)(const uint8_t *panels, bf_integer_shape shape, size_t first_panel, size_t count,
                                   uint8_t *codes, bf_integer_strides strides);
    // Weights scales[o] * (code - offset) of the outputs [first_output, first_output + count); `out` is that of
    // first_output, `panels` and `scales` are those of the whole layer.
    void (*_Nonnull decode_rows)(const uint8_t *panels, bf_integer_shape shape, size_t first_output, size_t count,
                                 const float *scales, float *out, bf_integer_strides strides);

    // Quantization of a pixel: scale = m / 127 with m its largest magnitude, codes = x * (127 / m) rounded half to
    // even. A pixel with m < 2^-96 has scale 0 and codes 0. A pixel with a NaN or an infinity has scale NaN and codes
    // 0, so that all results that depend on it are NaN.
    //
    // Rows x [rows, channels], leading dimension ldx, to out [rows, depth], depth = bf_integer_depth(channels).
    void (*_Nonnull quantize_rows)(const float *x, size_t rows, size_t channels, size_t ldx, int8_t *out, size_t depth,
                                   float *scales, int32_t *sums);
    // Pixels [first, first + count) of an image x [channels, pixels], `plane` floats from channel to channel, to
    // out [count, depth], depth = bf_integer_depth(channels).
    void (*_Nonnull quantize_image)(const float *x, size_t channels, size_t plane, size_t first, size_t count,
                                    int8_t *out, size_t depth, float *scales, int32_t *sums);

    // Bytes of scratch that `product` needs.
    size_t (*_Nonnull product_scratch)(const bf_integer_product *_Nonnull product);
    void (*_Nonnull product)(const bf_integer_product *_Nonnull product, void *scratch);

    // Bytes of the panels of the keys and values of one head.
    size_t (*_Nonnull attention_panel_bytes)(bf_integer_attention shape);
    // Quantizes k and v [keys, head_dim] to panels, whose layout is that of this table.
    void (*_Nonnull attention_prepack)(const float *k, const float *v, bf_integer_attention shape, void *panels);
    size_t attention_queries;  // most rows of q in one call
    // Bytes of scratch that `attention` needs.
    size_t (*_Nonnull attention_scratch)(bf_integer_attention shape);
    // Rows of q and out [queries, head_dim].
    void (*_Nonnull attention)(const float *q, const void *panels, float *out, size_t queries,
                               bf_integer_attention shape, void *scratch);
} bf_integer_table;

/// Bits of the container for codes of `levels` levels: 2, 4 or 8; 0 if levels is not in 2 ... BF_INTEGER_MAX_LEVELS.
int bf_integer_bits(int levels);
/// Bytes of a pixel of `inputs` channels: `inputs` rounded up to a multiple of BF_INTEGER_DEPTH.
size_t bf_integer_depth(size_t inputs);
/// Number of panels of `outputs` outputs.
size_t bf_integer_panels(size_t outputs);
/// Bytes of all panels of a layer.
size_t bf_integer_panel_bytes(bf_integer_shape shape);

/// The table of the widest instruction set that the processor supports; BITSFUSION_KERNELS=portable|avx2|avx512 selects
/// a narrower one.
const bf_integer_table *_Nonnull bf_integer_kernels(void);
/// A table by name; NULL if the name is unknown or the processor does not support the instruction set.
const bf_integer_table *_Nullable bf_integer_kernels_named(const char *_Nonnull name);

#ifdef __cplusplus
}
#endif

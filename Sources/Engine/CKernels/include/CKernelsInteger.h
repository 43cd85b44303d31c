// SPDX-License-Identifier: Apache-2.0
// Low-bit weights times activations quantized to int8, with exact int32 accumulation; one table of function pointers
// for every instruction set. No allocation, no threads, no globals but the tables.
//
// Weights lie as codes 0 ... L-1 in containers of 2, 4 or 8 bits, in panels of 32 outputs (drawn in integer_panels.h),
// the same bytes for every instruction set. Activations are int8 in -127 ... 127, with one scale and one sum per pixel
// (per token, for a linear layer).
//
// Every float operation is rounded on its own (nothing is fused), in an order that depends on neither the cut into
// rows and panels nor the vector width: all tables, the scalar reference included, give the same bits.
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
    BF_INTEGER_MAX_INPUTS = 65536,  // so that no partial sum leaves int32
    BF_INTEGER_MAX_LEVELS = 129     // so that sums of two products stay in int16 where an instruction set needs that
};

/// Weights of a layer: codes W[o][s][k], o < outputs, s < segments, k < inputs, for scales[o] * (code - offset).
typedef struct {
    int bits;         // of a container: 2, 4 or 8, see bf_integer_bits
    int32_t offset;   // 0 ... 128; (L - 1) / 2 for a balanced grid of an odd number L of levels
    size_t outputs;   // N
    size_t segments;  // S, at least 1: 1 for a linear layer or a 1x1 convolution, the number of taps otherwise
    size_t inputs;    // K, at most BF_INTEGER_MAX_INPUTS
} bf_integer_shape;

/// Elements from one output, segment or input to the next, in codes or decoded weights outside of panels:
/// {segments * inputs, 1, segments} for [OC, IC, KH, KW].
typedef struct {
    size_t output, segment, input;
} bf_integer_strides;

/// Rows [first_row, first_row + rows) and panels [first_panel, first_panel + panels) of
///
///     y[r][o] = sum over s of pixel_scales[p] * (sum over k of (code - offset) * pixels[p][k]) * weight_scales[o]
///               + bias[o] + channel_bias[o] + addend[r][o],        p = row_pixel[r] + segment_step[s]
///
/// The inner sum is exact; the others are rounded one by one from left to right.
typedef struct {
    bf_integer_shape shape;
    const uint8_t *weights;      // all panels of the layer
    const float *weight_scales;  // [outputs]

    const int8_t *pixels;        // bf_integer_depth(inputs) bytes each, zeros behind the inputs
    const float *pixel_scales;   // one per pixel; what a pixel of zeros has is of no matter as long as it is finite
    const int32_t *pixel_sums;   // one per pixel: the sum of its values
    const int32_t *row_pixel;    // [rows of all calls]; NULL: row r is pixel r
    const int32_t *segment_step; // [segments]; NULL: 0

    size_t first_row, rows;
    size_t first_panel, panels;

    const float *bias, *channel_bias;  // [outputs]; NULL: 0
    // Element (r, o) of y and of the addend: r * y_step + o, or o * y_step + r if channels_first.
    const float *addend;             // NULL: nothing is added; may be y
    float *y;
    size_t y_step;
    bool channels_first;
} bf_integer_product;

typedef struct {
    const char *_Nonnull name;  // "avx512vnni", "avx2", "portable", "reference"

    // Codes, each below 2^bits and at most 128, to the panels [first_panel, first_panel + count). `codes` and `panels`
    // are those of the whole layer. Code 0 fills up the last panel and what lies behind the inputs.
    void (*_Nonnull pack_panels)(const uint8_t *codes, bf_integer_strides strides, bf_integer_shape shape,
                                 size_t first_panel, size_t count, uint8_t *panels);
    // The same backwards.
    void (*_Nonnull unpack_panels)(const uint8_t *panels, bf_integer_shape shape, size_t first_panel, size_t count,
                                   uint8_t *codes, bf_integer_strides strides);
    // Weights scales[o] * (code - offset) of the outputs [first_output, first_output + count); `out` is that of
    // first_output, `panels` and `scales` are those of the whole layer.
    void (*_Nonnull decode_rows)(const uint8_t *panels, bf_integer_shape shape, size_t first_output, size_t count,
                                 const float *scales, float *out, bf_integer_strides strides);

    // One pixel's quantization: scale = m / 127 with m its largest magnitude, codes = round half to even of
    // x * (127 / m). A pixel with m < 2^-96 has scale 0 and codes 0; one that holds a NaN or an infinity has scale NaN
    // and codes 0, so that all that is made of it becomes NaN.
    //
    // Rows x [rows, width], `ldx` floats apart, to out [rows, depth], depth = bf_integer_depth(width).
    void (*_Nonnull quantize_rows)(const float *x, size_t rows, size_t width, size_t ldx, int8_t *out, size_t depth,
                                   float *scales, int32_t *sums);
    // Pixels [first, first + count) of an image x [channels, pixels], `plane` floats from channel to channel, to
    // out [count, depth], depth = bf_integer_depth(channels).
    void (*_Nonnull quantize_image)(const float *x, size_t channels, size_t plane, size_t first, size_t count,
                                    int8_t *out, size_t depth, float *scales, int32_t *sums);

    // Bytes of scratch that `product` needs.
    size_t (*_Nonnull product_scratch)(const bf_integer_product *_Nonnull product);
    void (*_Nonnull product)(const bf_integer_product *_Nonnull product, void *scratch);
} bf_integer_table;

/// The container for codes of `levels` values: 2, 4 or 8 bits; 0 when levels is not in 2 ... BF_INTEGER_MAX_LEVELS.
int bf_integer_bits(int levels);
/// Bytes of a pixel of `inputs` channels: `inputs` rounded up to a multiple of BF_INTEGER_DEPTH.
size_t bf_integer_depth(size_t inputs);
/// Panels that `outputs` outputs fill.
size_t bf_integer_panels(size_t outputs);
/// Bytes of all panels of a layer.
size_t bf_integer_panel_bytes(bf_integer_shape shape);

/// The widest table that this processor runs; BITSFUSION_KERNELS=portable|avx2|avx512 narrows the choice.
const bf_integer_table *_Nonnull bf_integer_kernels(void);
/// A table by name, or NULL when unknown or not runnable here.
const bf_integer_table *_Nullable bf_integer_kernels_named(const char *_Nonnull name);

#ifdef __cplusplus
}
#endif

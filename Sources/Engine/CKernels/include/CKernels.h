// SPDX-License-Identifier: Apache-2.0
// SIMD kernels behind one table of function pointers. No allocation, no threads, no globals but the table.
//
// The bodies are plain C loops written for the auto-vectoriser (`kernels.inc`) and compiled once per
// instruction set; `bf_kernels()` picks the widest that the processor runs. `bf_reference()` is the scalar
// twin (double precision, libm) that the tests hold every other table against.
// All pointers are Float32, unaligned, and must not overlap unless a comment says "in place".
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "CKernelsInteger.h"

// Function pointers are annotated for Swift; data pointers stay as they are (NULL where a comment says so).
#pragma clang diagnostic ignored "-Wnullability-completeness"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    BF_SILU = 0,
    BF_GELU,        // exact, by erf
    BF_GELU_TANH,   // tanh approximation
    BF_QUICK_GELU,  // x * sigmoid(1.702 x)
    BF_RELU,
    BF_MISH,
    BF_EXP,
    BF_SQUARE,
    BF_SQRT,
    BF_TANH,
    BF_UNARY_COUNT
} bf_unary;

typedef enum { BF_ADD = 0, BF_SUB, BF_MUL, BF_DIV, BF_BINARY_COUNT } bf_binary;

/// Geometry of one image of a 2-D convolution; NCHW, one group, no dilation.
typedef struct {
    int height, width;            // input
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride;
    int pad_top, pad_left;
} bf_conv_shape;

/// C = A B (+ what C starts from) on packed panels; all row-major.
typedef struct {
    size_t rows, columns, depth;
    // A[i][k] = a[i * a_row + k * a_column]
    const float *a;
    size_t a_row, a_column;
    // `depth` x `columns`, packed by pack_panels, pack_transposed or pack_image
    const float *b;
    // C[i][j] = c[i * c_row + j]
    float *c;
    size_t c_row;
    // Added to every row, to every column, elementwise (strides of C); NULL: nothing.
    const float *row_bias, *column_bias, *addend;
    // Add to what C holds.
    bool accumulate;
} bf_gemm;

/// A range of the tiles of a Winograd convolution F(m x m, 3 x 3), stride 1, and where their transforms lie.
/// Tiles are counted row by row through all images; a tile is m x m output pixels, fewer at the right and lower edge.
typedef struct {
    bf_conv_shape shape;
    int m;  // 2 or 4
    size_t first_tile, tiles;
    // Floats from one image to the next on the side of the pixels.
    size_t image_step;
    // The transform of product p, channel c, tile first_tile + t lies at
    // p * product_step + c * channel_step + t / panel * panel_step + t % panel, with panel = 2 * vector_width.
    size_t product_step, channel_step, panel_step;
} bf_winograd;

/// What is added to a convolution's outputs as they are stored; NULL: nothing.
typedef struct {
    const float *bias;                    // [channels]
    const float *image_bias;              // [images, channels], image_bias_step apart
    size_t image_bias_step;
    const float *addend;                  // layout of the output
} bf_epilogue;

/// One head of an attention.
typedef struct {
    size_t keys;    // S
    size_t width;   // d
    size_t stride;  // floats from one token to the next: all heads' widths together
    float scale;    // of the scores
    bool causal;    // query i sees keys 0...i only
} bf_attention;

/// One AdamW update (Loshchilov and Hutter 2019), the same for every element.
typedef struct {
    float learning_rate, beta1, beta2, epsilon, weight_decay;
    float correction1, correction2;  // 1 / (1 - beta1^t), 1 / (1 - beta2^t)
    float gradient_scale;            // multiplies the gradient first
    float minimum;                   // values below it are put back to it
    float average_rate;              // average += average_rate * (value - average)
} bf_adamw;

/// The random bits that round the moments of one parameter in one update: Philox 4x32-10 under `seed` and `stream`. Element
/// e takes word e % 64 / 16 of block `update` * 2^32 + e / 64 * 16 + e % 16, its low half for the first moment, its high
/// half for the second; e < 2^34.
typedef struct {
    uint64_t seed, stream;
    uint32_t update;
} bf_rounding;

typedef struct {
    const char *_Nonnull name;  // "avx512", "avx2", "portable", "reference"

    // out[i] = a[i] op b[i];  in place allowed
    void (*_Nonnull binary[BF_BINARY_COUNT])(const float *a, const float *b, float *out, size_t n);
    // out[i] = a[i] op b;  in place allowed
    void (*_Nonnull binary_scalar[BF_BINARY_COUNT])(const float *a, float b, float *out, size_t n);
    // out[i] = a op b[i];  in place allowed
    void (*_Nonnull scalar_binary[BF_BINARY_COUNT])(float a, const float *b, float *out, size_t n);
    // y[i] += alpha * x[i]
    void (*_Nonnull axpy)(float alpha, const float *x, float *y, size_t n);
    // y[i] += a[i] * b[i]
    void (*_Nonnull multiply_add)(const float *a, const float *b, float *y, size_t n);

    // out[i] = f(x[i])
    void (*_Nonnull unary[BF_UNARY_COUNT])(const float *x, float *out, size_t n);
    // gx[i] = gy[i] * f'(x[i]);  gx may be gy
    void (*_Nonnull unary_grad[BF_UNARY_COUNT])(const float *x, const float *gy, float *gx, size_t n);
    // x: value half then gate half, `d` each: out[i] = x[i] * gelu(x[d + i])
    void (*_Nonnull geglu)(const float *x, float *out, size_t d);
    void (*_Nonnull geglu_grad)(const float *x, const float *gy, float *gx, size_t d);

    // Sums are pairwise over blocks, so the error grows with log n.
    float (*_Nonnull sum)(const float *x, size_t n);
    float (*_Nonnull dot)(const float *a, const float *b, size_t n);
    // sum of (a[i] - b[i])^2 in double
    double (*_Nonnull squared_distance)(const float *a, const float *b, size_t n);
    // sum of x[i]^2 in double, of blocks that are summed in Float32; infinite where that overflows
    double (*_Nonnull squared_sum)(const float *x, size_t n);
    // out[j] += sum over rows of x[row * columns + j]
    void (*_Nonnull add_rows)(const float *x, float *out, size_t rows, size_t columns);
    bool (*_Nonnull all_finite)(const float *x, size_t n);

    // One (image, group): x, out [channels, inner]; weight, bias [channels] or NULL.
    void (*_Nonnull group_norm)(const float *x, const float *weight, const float *bias, float *out, size_t channels,
                       size_t inner, float epsilon, bool silu, float *mean, float *rstd);
    // gweight, gbias [channels] are overwritten with this image's share; gx may be gy.
    void (*_Nonnull group_norm_grad)(const float *x, const float *gy, const float *weight, const float *bias, float mean,
                            float rstd, bool silu, float *gx, float *gweight, float *gbias, size_t channels,
                            size_t inner);
    // rows of `d`; weight, bias may be NULL; mean, rstd [rows]
    void (*_Nonnull layer_norm)(const float *x, const float *weight, const float *bias, float *out, size_t rows, size_t d,
                       float epsilon, float *mean, float *rstd);
    // gweight, gbias [d] are added to (NULL: skipped); gx may be gy
    void (*_Nonnull layer_norm_grad)(const float *x, const float *gy, const float *weight, const float *mean,
                            const float *rstd, float *gx, float *gweight, float *gbias, size_t rows, size_t d);
    void (*_Nonnull softmax)(const float *x, float *out, size_t rows, size_t d);
    // gx may be gy
    void (*_Nonnull softmax_grad)(const float *y, const float *gy, float *gx, size_t rows, size_t d);

    // Attention, one head and up to attention_queries queries a call. Tensors are [tokens, d] with `stride` floats from
    // token to token; packed: k or v as attention_pack leaves it, keys * width floats; scratch: attention_scratch(width)
    // floats; logsumexp: one per query, of its scaled scores.
    size_t attention_queries;
    size_t (*_Nonnull attention_scratch)(size_t width);
    void (*_Nonnull attention_pack)(const float *x, float *packed, bf_attention shape);
    void (*_Nonnull attention_forward)(const float *q, const float *packed_k, const float *v, float *out,
                                       float *logsumexp, size_t first_query, size_t queries, bf_attention shape,
                                       float *scratch);
    // gy: the gradient of out. gk, gv are added to: [keys, d rounded up to vector_width], contiguous.
    void (*_Nonnull attention_backward)(const float *q, const float *k, const float *packed_k, const float *packed_v,
                                        const float *out, const float *logsumexp, const float *gy, float *gq, float *gk,
                                        float *gv, size_t first_query, size_t queries, bf_attention shape,
                                        float *scratch);

    // Columns [first, first + count) of output pixels: col [channels * kh * kw, count] (leading dimension ld).
    void (*_Nonnull im2col)(const float *x, float *col, bf_conv_shape shape, size_t channels, size_t first, size_t count,
                   size_t ld);
    // Adds a whole image's columns [channels * kh * kw, oh * ow] back; x must be cleared by the caller.
    void (*_Nonnull col2im)(const float *col, float *x, bf_conv_shape shape, size_t channels);
    size_t vector_width;  // floats per vector
    // C = A B on packed panels.
    void (*_Nonnull gemm)(const bf_gemm *product);
    // Panels of B [depth, columns], leading dimension ld. `packed` holds depth floats for every column, columns rounded
    // up to a multiple of vector_width.
    void (*_Nonnull pack_panels)(const float *x, size_t depth, size_t columns, size_t ld, float *packed);
    // The same of B given as its transpose x [columns, depth].
    void (*_Nonnull pack_transposed)(const float *x, size_t columns, size_t depth, size_t ld, float *packed);
    // The same of the patches of one image [channels, height, width]: B is [channels * kh * kw, count], column j is
    // output pixel first + j.
    void (*_Nonnull pack_image)(const float *x, bf_conv_shape shape, size_t channels, size_t first, size_t count,
                                float *packed);

    // Floats of scratch that winograd_input needs.
    size_t (*_Nonnull winograd_scratch)(const bf_winograd *tiles);
    // w [rows, inputs, 3, 3] -> u [(m + 2)^2, rows, inputs], products u_product apart. flip: the kernel is turned by 180
    // degrees, for the gradient of the input.
    void (*_Nonnull winograd_weights)(int m, const float *w, float *u, size_t rows, size_t inputs, size_t u_product,
                                      bool flip);
    // The gradient of w from that of u.
    void (*_Nonnull winograd_weights_grad)(int m, const float *gu, float *gw, size_t rows, size_t inputs,
                                           size_t gu_product);
    // Pixels x to products' factors v; whole vectors are written, lanes past the last tile are undefined.
    void (*_Nonnull winograd_input)(const bf_winograd *tiles, const float *x, size_t channels, float *v,
                                    float *scratch);
    // Products p to pixels y, plus what the epilogue adds.
    void (*_Nonnull winograd_output)(const bf_winograd *tiles, const float *p, size_t channels,
                                     const bf_epilogue *epilogue, float *y);
    // The gradient of p from that of y; lanes past the last tile are zero.
    void (*_Nonnull winograd_output_grad)(const bf_winograd *tiles, const float *gy, size_t channels, float *gp);
    // out [columns, rows] = transpose of x [rows, columns]; leading dimensions ldx, ldo
    void (*_Nonnull transpose)(const float *x, float *out, size_t rows, size_t columns, size_t ldx, size_t ldo);
    // Planes [height, width] -> [2 height, 2 width], each pixel four times
    void (*_Nonnull upsample2x)(const float *x, float *out, size_t planes, size_t height, size_t width);
    // gx [height, width] from gy [2 height, 2 width]: the sums of each pixel's four
    void (*_Nonnull upsample2x_grad)(const float *gy, float *gx, size_t planes, size_t height, size_t width);

    // LSQ fake quantization of one output channel: out = s * clip(round_half_even(w / s), -q, q)
    void (*_Nonnull fake_quantize)(const float *w, float scale, float q, float *out, size_t n);
    // g, in place: what comes from above is kept inside the clipping range and becomes 0 outside and at its ends; returns
    // the scale's gradient (without LSQ's factor)
    float (*_Nonnull fake_quantize_grad)(const float *w, float scale, float q, float *g, size_t n);
    // codes clip(round_half_even(w / s)) and the two inner products that the optimal scale needs
    void (*_Nonnull quantize)(const float *w, float scale, float q, int16_t *codes, size_t n);
    void (*_Nonnull quantize_products)(const float *w, float scale, float q, double *wq, double *qq, size_t n);
    void (*_Nonnull dequantize)(const int16_t *codes, float scale, float *out, size_t n);

    // One AdamW update in place, then the values' moving average (NULL: none is kept).
    void (*_Nonnull adamw)(float *w, const float *g, float *m, float *v, float *average, size_t n,
                           const bf_adamw *update);
    // The same with moments in bfloat16; w[0] is element `first`, a multiple of 64, of the parameter that `rounding` names.
    void (*_Nonnull adamw_bfloat)(float *w, const float *g, uint16_t *m, uint16_t *v, float *average, size_t n,
                                  const bf_adamw *update, const bf_rounding *rounding, size_t first);
    // y[i] += rate * (x[i] - y[i])
    void (*_Nonnull lerp)(float *y, const float *x, float rate, size_t n);

    void (*_Nonnull float_from_half)(const uint16_t *x, float *out, size_t n);
    void (*_Nonnull half_from_float)(const float *x, uint16_t *out, size_t n);     // round to nearest even
    void (*_Nonnull float_from_bfloat)(const uint16_t *x, float *out, size_t n);
    void (*_Nonnull bfloat_from_float)(const float *x, uint16_t *out, size_t n);   // round to nearest even
} bf_kernel_table;

/// Tells the processor that the caller watches a value that another core will change.
static inline void bf_spin_hint(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/// The widest table that this processor runs; BITSFUSION_KERNELS=portable|avx2|avx512 narrows the choice.
const bf_kernel_table *_Nonnull bf_kernels(void);
/// Scalar twin in double precision.
const bf_kernel_table *_Nonnull bf_reference(void);
/// A table by name, or NULL when unknown or not runnable here.
const bf_kernel_table *_Nullable bf_kernels_named(const char *_Nonnull name);

/// Philox 4x32-10 (Salmon et al. 2011): out[4 * i ...] = block (counter + i) of the stream.
void bf_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t *out, size_t blocks);
/// Standard normals by Box-Muller, two per block half: element i depends on (seed, stream, first + i) only.
void bf_philox_normal(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n);
/// Uniform in [0, 1) with 24 bits.
void bf_philox_uniform(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n);

#ifdef __cplusplus
}
#endif

// SPDX-License-Identifier: Apache-2.0
// SIMD kernels behind one table of function pointers. No allocation, no threads, no globals but the tables.
//
// The bodies (`kernels.inc`) are compiled once per instruction set; `bf_kernels()` returns the table of the widest
// instruction set that the processor supports. `bf_reference()` is the scalar reference (double precision, libm); the
// tests compare every other table with it.
// All pointers are Float32, need no alignment, and must not overlap unless a comment says "in place".
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "CKernelsInteger.h"

// Function pointers are annotated for Swift. Data pointers are not; comments say which may be NULL.
#pragma clang diagnostic ignored "-Wnullability-completeness"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    BF_SILU = 0,
    BF_GELU,        // exact, with erf
    BF_QUICK_GELU,  // x * sigmoid(1.702 x)
    BF_RELU,
    BF_MISH,
    BF_EXP,
    BF_SQUARE,
    BF_SQRT,
    BF_UNARY_COUNT
} bf_unary;

typedef enum { BF_ADD = 0, BF_SUB, BF_MUL, BF_DIV, BF_BINARY_COUNT } bf_binary;

typedef void (*bf_unary_function)(const float *x, float *out, size_t n);
typedef void (*bf_unary_grad_function)(const float *x, const float *gy, float *gx, size_t n);
typedef void (*bf_binary_function)(const float *a, const float *b, float *out, size_t n);
typedef void (*bf_binary_scalar_function)(const float *a, float b, float *out, size_t n);
typedef void (*bf_scalar_binary_function)(float a, const float *b, float *out, size_t n);

/// Geometry of one image of a 2-D convolution; NCHW, one group, no dilation.
typedef struct {
    int height, width;            // input
    int out_height, out_width;
    int kernel_height, kernel_width;
    int stride;
    int pad_top, pad_left;
} bf_conv_shape;

/// C = A B + initial value of C, with B in prepacked panels; all matrices are row-major.
typedef struct {
    size_t rows, columns, depth;
    // A[i][k] = a[i * a_row + k * a_column]
    const float *a;
    size_t a_row, a_column;
    // `depth` x `columns`, written by prepack, prepack_transposed or prepack_image
    const float *b;
    // C[i][j] = c[i * c_row + j]
    float *c;
    size_t c_row;
    // Added to the rows [rows], to the columns [columns], and elementwise (strides of C); NULL: not added.
    const float *row_bias, *column_bias, *addend;
    // Adds to the present contents of C.
    bool accumulate;
} bf_gemm;

/// A range of the tiles of a Winograd convolution F(m x m, 3 x 3) with stride 1, and the layout of their transforms.
/// Tiles are numbered row by row through all images. A tile is m x m output pixels, fewer at the right and lower edges.
typedef struct {
    bf_conv_shape shape;
    int m;  // 2 or 4
    size_t first_tile, tiles;
    // Floats from one image to the next in the tensor of pixels.
    size_t image_step;
    // The transform of product p, channel c, tile first_tile + t is at offset
    // p * product_step + c * channel_step + t / panel * panel_step + t % panel, with panel = 2 * vector_width.
    size_t product_step, channel_step, panel_step;
} bf_winograd;

/// Terms added to a convolution's outputs when they are stored; NULL: not added.
typedef struct {
    const float *bias;          // [channels]
    const float *channel_bias;  // [images, channels], rows channel_bias_step floats apart
    size_t channel_bias_step;
    const float *addend;        // layout of the output
} bf_epilogue;

/// One attention head.
typedef struct {
    size_t keys;      // S
    size_t head_dim;  // d
    size_t stride;    // floats from one token to the next: heads * head_dim
    float scale;      // factor of the scores
    bool causal;      // query i attends to keys 0...i only
} bf_attention;

/// One AdamW update (Loshchilov and Hutter 2019), the same for every element.
typedef struct {
    float learning_rate, beta1, beta2, epsilon, weight_decay;
    float correction1, correction2;  // 1 / (1 - beta1^t), 1 / (1 - beta2^t)
    float gradient_scale;            // multiplies the gradient first
    float minimum;                   // lower bound of the new values
    float average_rate;              // average += average_rate * (value - average)
} bf_adamw;

/// Random bits for stochastic rounding of the moments of one parameter in one update: Philox 4x32-10 with `seed` and
/// `stream`. Element e (< 2^34) uses word e % 64 / 16 of block `update` * 2^32 + e / 64 * 16 + e % 16: the low half for
/// the first moment, the high half for the second.
typedef struct {
    uint64_t seed, stream;
    uint32_t update;
} bf_rounding;

typedef struct {
    const char *_Nonnull name;  // "avx512", "avx2", "portable", "reference"
    const char *_Nonnull bfloat_name;  // of the instructions of gemm_bfloat: "avx512bf16", or "float32"

    // The arrays are indexed by operation; Swift code reads them with the accessors below (bf_unary_kernel, ...).
    // out[i] = a[i] op b[i];  in place allowed
    bf_binary_function _Nonnull binary[BF_BINARY_COUNT];
    // out[i] = a[i] op b;  in place allowed
    bf_binary_scalar_function _Nonnull binary_scalar[BF_BINARY_COUNT];
    // out[i] = a op b[i];  in place allowed
    bf_scalar_binary_function _Nonnull scalar_binary[BF_BINARY_COUNT];
    // y[i] += alpha * x[i]
    void (*_Nonnull axpy)(float alpha, const float *x, float *y, size_t n);
    // y[i] += a[i] * b[i]
    void (*_Nonnull multiply_add)(const float *a, const float *b, float *y, size_t n);

    // out[i] = f(x[i])
    bf_unary_function _Nonnull unary[BF_UNARY_COUNT];
    // gx[i] = gy[i] * f'(x[i]);  gx may be gy
    bf_unary_grad_function _Nonnull unary_grad[BF_UNARY_COUNT];
    // x: d values, then d gates: out[i] = x[i] * gelu(x[d + i])
    void (*_Nonnull geglu)(const float *x, float *out, size_t d);
    void (*_Nonnull geglu_grad)(const float *x, const float *gy, float *gx, size_t d);

    // Sums of blocks are added in double.
    float (*_Nonnull sum)(const float *x, size_t n);
    float (*_Nonnull dot)(const float *a, const float *b, size_t n);
    // sum of (a[i] - b[i])^2, blocks in Float32, their sums in double
    double (*_Nonnull squared_distance)(const float *a, const float *b, size_t n);
    // sum of x[i]^2, blocks in Float32, their sums in double; infinite if a block overflows
    double (*_Nonnull squared_sum)(const float *x, size_t n);
    // out[j] += sum over rows of x[row * columns + j]
    void (*_Nonnull add_rows)(const float *x, float *out, size_t rows, size_t columns);
    bool (*_Nonnull all_finite)(const float *x, size_t n);

    // One (image, group): x, out [channels, inner]; weight, bias [channels] or NULL.
    void (*_Nonnull group_norm)(const float *x, const float *weight, const float *bias, float *out, size_t channels,
                                size_t inner, float epsilon, bool silu, float *mean, float *rstd);
    // gweight, gbias [channels] are overwritten with the gradients from this image; gx may be gy.
    void (*_Nonnull group_norm_grad)(const float *x, const float *gy, const float *weight, const float *bias,
                                     float mean, float rstd, bool silu, float *gx, float *gweight, float *gbias,
                                     size_t channels, size_t inner);
    // rows of `d`; weight, bias may be NULL; mean, rstd [rows]
    void (*_Nonnull layer_norm)(const float *x, const float *weight, const float *bias, float *out, size_t rows,
                                size_t d, float epsilon, float *mean, float *rstd);
    // gweight, gbias [d] are added to (NULL: skipped); gx may be gy
    void (*_Nonnull layer_norm_grad)(const float *x, const float *gy, const float *weight, const float *mean,
                                     const float *rstd, float *gx, float *gweight, float *gbias, size_t rows,
                                     size_t d);
    void (*_Nonnull softmax)(const float *x, float *out, size_t rows, size_t d);
    // gx may be gy
    void (*_Nonnull softmax_grad)(const float *y, const float *gy, float *gx, size_t rows, size_t d);

    // Attention: one head and at most attention_queries queries per call. Tensors are [tokens, d] with `stride` floats
    // from token to token; k_panels, v_panels: written by attention_prepack, keys * head_dim floats; scratch:
    // attention_scratch(head_dim) floats; logsumexp: one value per query, of its scaled scores.
    size_t attention_queries;
    size_t (*_Nonnull attention_scratch)(size_t head_dim);
    void (*_Nonnull attention_prepack)(const float *x, float *panels, bf_attention shape);
    void (*_Nonnull attention_forward)(const float *q, const float *k_panels, const float *v, float *out,
                                       float *logsumexp, size_t first_query, size_t queries, bf_attention shape,
                                       float *scratch);
    // gy: the gradient of out. gk, gv are added to: [keys, d rounded up to vector_width], contiguous.
    void (*_Nonnull attention_backward)(const float *q, const float *k, const float *k_panels, const float *v_panels,
                                        const float *out, const float *logsumexp, const float *gy, float *gq,
                                        float *gk, float *gv, size_t first_query, size_t queries, bf_attention shape,
                                        float *scratch);

    // Columns [first, first + count) of output pixels: col [channels * kh * kw, count] (leading dimension ld).
    void (*_Nonnull im2col)(const float *x, float *col, bf_conv_shape shape, size_t channels, size_t first,
                            size_t count, size_t ld);
    // Adds the columns [channels * kh * kw, oh * ow] of one image to x, which the caller has set to zero.
    void (*_Nonnull col2im)(const float *col, float *x, bf_conv_shape shape, size_t channels);
    size_t vector_width;  // floats per vector
    // C = A B with B in prepacked panels.
    void (*_Nonnull gemm)(const bf_gemm *product);
    // The same product of bfloat16: an element of A and B is a word of two neighbors along the depth, the first in the
    // low half, and `depth`, `a_row` and `a_column` count words. The panels are those of floats. Sums are Float32; the
    // order and rounding of the additions depend on the instruction set.
    void (*_Nonnull gemm_bfloat)(const bf_gemm *product);
    // Panels of B [depth, columns], leading dimension ld. `panels` has room for depth floats per column, with the
    // number of columns rounded up to a multiple of vector_width.
    void (*_Nonnull prepack)(const float *x, size_t depth, size_t columns, size_t ld, float *panels);
    // Panels of B, given as its transpose x [columns, depth].
    void (*_Nonnull prepack_transposed)(const float *x, size_t columns, size_t depth, size_t ld, float *panels);
    // Panels of the patches of one image [channels, height, width]: B is [channels * kh * kw, count], column j is
    // output pixel first + j.
    void (*_Nonnull prepack_image)(const float *x, bf_conv_shape shape, size_t channels, size_t first, size_t count,
                                   float *panels);

    // Floats of scratch that winograd_input needs.
    size_t (*_Nonnull winograd_scratch)(const bf_winograd *tiles);
    // w [rows, inputs, 3, 3] -> u [(m + 2)^2, rows, inputs], products u_product floats apart. flip: rotates the kernel
    // by 180 degrees, for the gradient of the input.
    void (*_Nonnull winograd_weights)(int m, const float *w, float *u, size_t rows, size_t inputs, size_t u_product,
                                      bool flip);
    // The gradient of w from the gradient of u.
    void (*_Nonnull winograd_weights_grad)(int m, const float *gu, float *gw, size_t rows, size_t inputs,
                                           size_t gu_product);
    // Pixels x -> transformed inputs v. Whole vectors are written; lanes past the last tile are undefined.
    void (*_Nonnull winograd_input)(const bf_winograd *tiles, const float *x, size_t channels, float *v,
                                    float *scratch);
    // Products p -> pixels y, plus the terms of the epilogue.
    void (*_Nonnull winograd_output)(const bf_winograd *tiles, const float *p, size_t channels,
                                     const bf_epilogue *epilogue, float *y);
    // The gradient of p from the gradient of y; lanes past the last tile are zero.
    void (*_Nonnull winograd_output_grad)(const bf_winograd *tiles, const float *gy, size_t channels, float *gp);
    // out [columns, rows] = transpose of x [rows, columns]; leading dimensions ldx, ldo
    void (*_Nonnull transpose)(const float *x, float *out, size_t rows, size_t columns, size_t ldx, size_t ldo);
    // Planes [height, width] -> [2 height, 2 width], each pixel repeated four times
    void (*_Nonnull upsample2x)(const float *x, float *out, size_t planes, size_t height, size_t width);
    // gx [height, width] from gy [2 height, 2 width]: sums of 2 x 2 blocks
    void (*_Nonnull upsample2x_grad)(const float *gy, float *gx, size_t planes, size_t height, size_t width);

    // LSQ fake quantization of one output channel: out = s * clip(round_half_even(v), low, high), with v = w / s moved
    // towards 0 by `shrink`, the part of the dead zone beyond 0.5
    void (*_Nonnull fake_quantize)(const float *w, float scale, float low, float high, float shrink, float *out,
                                   size_t n);
    // g, in place: the upstream gradient is kept inside the clipping range and set to 0 outside and at its ends.
    // Returns the gradient of the scale, without LSQ's gradient scale factor.
    float (*_Nonnull fake_quantize_grad)(const float *w, float scale, float low, float high, float shrink, float *g,
                                         size_t n);
    // codes clip(round_half_even(v)), and the inner products <w, codes> and <codes, codes> of the optimal scale
    void (*_Nonnull quantize)(const float *w, float scale, float low, float high, float shrink, int16_t *codes,
                              size_t n);
    void (*_Nonnull quantize_products)(const float *w, float scale, float low, float high, float shrink, double *wq,
                                       double *qq, size_t n);
    void (*_Nonnull dequantize)(const int16_t *codes, float scale, float *out, size_t n);

    // sum[i] (+)= round_half_even(x[i] * scale), limited to 32 bits; wraps where the sum overflows. Returns the bits of
    // the largest |x[i]|; 0x7f800000 or more if a value is infinite or NaN. overwrites: sum[i] is not read.
    uint32_t (*_Nonnull fixed_point_add)(int32_t *sum, const float *x, float scale, bool overwrites, size_t n);
    // out[i] = (float)sum[i] * scale;  in place allowed
    void (*_Nonnull float_from_fixed_point)(const int32_t *sum, float scale, float *out, size_t n);

    // One AdamW update in place, then the moving average of the values (NULL: none).
    void (*_Nonnull adamw)(float *w, const float *g, float *m, float *v, float *average, size_t n,
                           const bf_adamw *update);
    // The same with moments in bfloat16; w[0] is element `first` of its parameter, a multiple of 64.
    void (*_Nonnull adamw_bfloat)(float *w, const float *g, uint16_t *m, uint16_t *v, float *average, size_t n,
                                  const bf_adamw *update, const bf_rounding *rounding, size_t first);
    // y[i] += rate * (x[i] - y[i])
    void (*_Nonnull lerp)(float *y, const float *x, float rate, size_t n);

    // Conversions from float16 and bfloat16, and to them with rounding to nearest even.
    void (*_Nonnull float_from_half)(const uint16_t *x, float *out, size_t n);
    void (*_Nonnull half_from_float)(const float *x, uint16_t *out, size_t n);
    void (*_Nonnull float_from_bfloat)(const uint16_t *x, float *out, size_t n);
    void (*_Nonnull bfloat_from_float)(const float *x, uint16_t *out, size_t n);
    // out[i] = the bfloat16 of first[i] in the low half and that of second[i] in the high half
    void (*_Nonnull bfloat_pairs)(const float *first, const float *second, uint32_t *out, size_t n);
} bf_kernel_table;

/// Tells the processor that the caller polls a value that another core will change.
static inline void bf_spin_hint(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

/// out[i] = f(x[i])
static inline bf_unary_function _Nonnull bf_unary_kernel(const bf_kernel_table *_Nonnull table, bf_unary f) {
    return table->unary[f];
}
/// gx[i] = gy[i] * f'(x[i]);  gx may be gy
static inline bf_unary_grad_function _Nonnull bf_unary_grad_kernel(const bf_kernel_table *_Nonnull table, bf_unary f) {
    return table->unary_grad[f];
}
/// out[i] = a[i] op b[i];  in place allowed
static inline bf_binary_function _Nonnull bf_binary_kernel(const bf_kernel_table *_Nonnull table, bf_binary op) {
    return table->binary[op];
}
/// out[i] = a[i] op b;  in place allowed
static inline bf_binary_scalar_function _Nonnull bf_binary_scalar_kernel(const bf_kernel_table *_Nonnull table,
                                                                         bf_binary op) {
    return table->binary_scalar[op];
}
/// out[i] = a op b[i];  in place allowed
static inline bf_scalar_binary_function _Nonnull bf_scalar_binary_kernel(const bf_kernel_table *_Nonnull table,
                                                                         bf_binary op) {
    return table->scalar_binary[op];
}

/// The table of the widest instruction set that the processor supports; BITSFUSION_KERNELS=portable|avx2|avx512 selects
/// a narrower one.
const bf_kernel_table *_Nonnull bf_kernels(void);
/// The scalar reference in double precision.
const bf_kernel_table *_Nonnull bf_reference(void);
/// A table by name; NULL if the name is unknown or the processor does not support the instruction set.
const bf_kernel_table *_Nullable bf_kernels_named(const char *_Nonnull name);

/// Philox 4x32-10 (Salmon et al. 2011): out[4 * i ...] = block (counter + i) of the stream.
void bf_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t *out, size_t blocks);
/// Standard normal values by the Box-Muller transform, four per block: element i depends on (seed, stream, first + i)
/// only.
void bf_philox_normal(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n);
/// Uniform values in [0, 1) with 24 bits.
void bf_philox_uniform(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n);

#ifdef __cplusplus
}
#endif

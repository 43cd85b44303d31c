// SPDX-License-Identifier: Apache-2.0
// The integer kernels compiled for AVX2; called only after the run-time check in integer_dispatch.c.
#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx2,fma,bmi2"))), apply_to = function)
#define BF_INTEGER_TABLE bf_integer_table_avx2
#define BF_NAME "avx2"
#define BF_VECTOR 8
// Rows of a block of transposed activations and of a tile: 8 sums and 4 vectors of codes leave three registers.
#define BF_BLOCK_ROWS 8
#define BF_TILE_ROWS 8
#define BF_TILE_VECTORS 1
#define BF_FEW_PANELS(ROWS) 1
// Keys or channels whose sums, of two vectors of queries each, stay in registers in an attention.
#define BF_ATTENTION_ROWS 4
// With codes <= 128 and activations within +-127, the sum of two products is within +-32512 and does not saturate. For
// signed codes, within -128 ... 127, the sign moves to the activations: magnitudes are bytes of at most 128.
#define BF_PAIRS(codes, four) ((bf_shorts)_mm256_maddubs_epi16((__m256i)(codes), (__m256i)(four)))
#define BF_SIGNED_PAIRS(codes, four)                                          \
    ((bf_shorts)_mm256_maddubs_epi16(_mm256_abs_epi8((__m256i)(codes)),       \
                                     _mm256_sign_epi8((__m256i)(four), (__m256i)(codes))))
#define BF_ADD_PAIRS(sums, pairs) ((sums) + (bf_ints)_mm256_madd_epi16((__m256i)(pairs), _mm256_set1_epi16(1)))
#define BF_SHORTS_DOT(sums, shorts, two) \
    ((sums) + (bf_ints)_mm256_madd_epi16((__m256i)(shorts), (__m256i)(two)))
#include "integer.inc"
#pragma clang attribute pop
#endif

// SPDX-License-Identifier: Apache-2.0
// The integer kernels compiled for AVX-512 with VNNI; called only after the run-time check in integer_dispatch.c.
#if defined(__x86_64__)
#include <immintrin.h>
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx2,fma,bmi2"))), \
                             apply_to = function)
#define BF_INTEGER_TABLE bf_integer_table_avx512vnni
#define BF_NAME "avx512vnni"
#define BF_VECTOR 16
// Rows of a block of transposed activations and of a tile: 13 x 2 sums leave registers for two vectors of codes, the
// mask and early loads; with 14 x 2, some sums are spilled to the stack.
#define BF_BLOCK_ROWS 13
#define BF_TILE_ROWS 13
#define BF_TILE_VECTORS 2
// Panels computed together if there are few rows, so that there are enough sums to hide the latency of the dot product.
#define BF_FEW_PANELS(ROWS) ((ROWS) == 1 ? 4 : (ROWS) == 2 ? 2 : 1)
// Keys or channels whose sums, of two vectors of queries each, stay in registers in an attention.
#define BF_ATTENTION_ROWS 8
#define BF_DOT(sums, codes, four) ((bf_ints)_mm512_dpbusd_epi32((__m512i)(sums), (__m512i)(codes), (__m512i)(four)))
#define BF_SHORTS_DOT(sums, shorts, two) \
    ((bf_ints)_mm512_dpwssd_epi32((__m512i)(sums), (__m512i)(shorts), (__m512i)(two)))
#include "integer.inc"
#pragma clang attribute pop
#endif

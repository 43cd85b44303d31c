// SPDX-License-Identifier: Apache-2.0
// The product of bfloat16 matrices with the instructions of AVX-512 BF16; called only after the run-time check in
// dispatch.c.
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "CKernels.h"

#pragma clang attribute push(                                                                     \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,f16c,bmi2"))), \
    apply_to = function)
#define BF_VECTOR 16
#define BF_PRODUCT_ROWS 14
#define BF_DOT_BFLOAT(sums, factor, line) \
    ((bf_floats)_mm512_dpbf16_ps((__m512)(sums), (__m512bh)_mm512_set1_epi32((int)(factor)), (__m512bh)(line)))

#include "math.inc"

#include "vectors.inc"

#include "gemm_start.inc"

#include "gemm_bfloat.inc"

void bf_gemm_avx512bf16(const bf_gemm *g) { gemm_bfloat(g); }
#pragma clang attribute pop
#endif

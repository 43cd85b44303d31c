// SPDX-License-Identifier: Apache-2.0
// The kernels compiled for AVX-512; called only after the run-time check in dispatch.c.
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,f16c,bmi2"))), \
                             apply_to = function)
#define BF_TABLE bf_table_avx512
#define BF_NAME "avx512"
#define BF_AVX512
// Floats per vector, and the number of rows of a product tile: its sums, two vectors per row, fill the registers.
#define BF_VECTOR 16
#define BF_PRODUCT_ROWS 14
#define BF_WIDE_ROWS 9
#include "kernels.inc"
#pragma clang attribute pop
#endif

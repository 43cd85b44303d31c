// SPDX-License-Identifier: Apache-2.0
// The kernels compiled for AVX2; called only after the run-time check in dispatch.c.
#if defined(__x86_64__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c,bmi2"))), apply_to = function)
#define BF_TABLE bf_table_avx2
#define BF_NAME "avx2"
// Floats per vector, and the number of rows of a product tile: its sums, two vectors per row, fill the registers.
#define BF_VECTOR 8
#define BF_PRODUCT_ROWS 6
#define BF_WIDE_ROWS 4
#include "kernels.inc"
#pragma clang attribute pop
#endif

// SPDX-License-Identifier: Apache-2.0
// The kernels for the compiler's baseline: SSE2 on x86-64, NEON on AArch64.
#define BF_TABLE bf_table_portable
#define BF_NAME "portable"
// Floats per vector, and the number of rows of a product tile: its sums, two vectors per row, fill the registers.
#define BF_VECTOR 4
#define BF_PRODUCT_ROWS 6
#define BF_WIDE_ROWS 4
#include "kernels.inc"

// SPDX-License-Identifier: Apache-2.0
// The integer kernels for the compiler's baseline: SSE2 on x86-64, NEON on AArch64.
#define BF_INTEGER_TABLE bf_integer_table_portable
#define BF_NAME "portable"
#define BF_VECTOR 4
#define BF_PRODUCT_ROWS 6
// Rows of a packed block, and of a tile whose sums, two vectors each, leave room for codes and activations.
#define BF_BLOCK_ROWS 4
#define BF_TILE_ROWS 4
#define BF_FEW_PANELS(ROWS) 1
#define BF_DOT(sums, codes, four) dot_in_shorts(sums, codes, four)
#include "integer.inc"

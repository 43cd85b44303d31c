// SPDX-License-Identifier: Apache-2.0
// The integer kernels for the compiler's baseline: SSE2 on x86-64, NEON on AArch64.
#define BF_INTEGER_TABLE bf_integer_table_portable
#define BF_NAME "portable"
#define BF_VECTOR 4
// Rows of a block of transposed activations and of a tile; sums of two vectors per row leave registers for codes and
// activations.
#define BF_BLOCK_ROWS 4
#define BF_TILE_ROWS 4
#define BF_TILE_VECTORS 2
#define BF_FEW_PANELS(ROWS) 1
// Keys or channels whose sums, of two vectors of queries each, stay in registers in an attention.
#define BF_ATTENTION_ROWS 4
// Bytes 0 and 2 of a lane are multiplied as shorts, and so are bytes 1 and 3; the sum of two products of at most
// 128 * 127 fits into a short. BF_SIGNED_PAIRS: signed codes, within -128 ... 127.
#define BF_LOW_BYTES(words) ((bf_shorts)((words) & (bf_words)0x00ff00ffu))
#define BF_PAIRS(codes, four)                                            \
    (BF_LOW_BYTES(codes) * ((bf_shorts)((bf_shorts)(four) << 8) >> 8) + \
     BF_LOW_BYTES((codes) >> 8) * ((bf_shorts)(four) >> 8))
#define BF_SIGNED_PAIRS(codes, four)                                                                    \
    (((bf_shorts)((bf_shorts)(codes) << 8) >> 8) * ((bf_shorts)((bf_shorts)(four) << 8) >> 8) +         \
     ((bf_shorts)(codes) >> 8) * ((bf_shorts)(four) >> 8))
#define BF_ADD_PAIRS(sums, pairs) ((sums) + ((bf_ints)((bf_words)(pairs) << 16) >> 16) + ((bf_ints)(pairs) >> 16))
#define BF_SHORTS_DOT(sums, shorts, two)                                                    \
    ((sums) + ((bf_ints)((shorts) << 16) >> 16) * ((bf_ints)((two) << 16) >> 16) + \
     ((bf_ints)(shorts) >> 16) * ((bf_ints)(two) >> 16))
#include "integer.inc"

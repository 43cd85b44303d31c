// SPDX-License-Identifier: Apache-2.0
// The kernels for the compiler's baseline: SSE2 on x86-64, NEON on AArch64.
#define BF_TABLE bf_table_portable
#define BF_NAME "portable"
#include "kernels.inc"

// SPDX-License-Identifier: Apache-2.0
// The scalar reference of every kernel: one plain loop each, in double precision with libm, rounded once at the end.
// Not used by the library; the tests compare every other table with it.
#include <math.h>
#include <string.h>

#include "CKernels.h"

#include "reference_elementwise.inc"

#include "reference_normalization.inc"

#include "reference_attention.inc"

#include "reference_layout.inc"

#define BF_VECTOR 1

#include "reference_quantization.inc"

#include "reference_gemm.inc"

#include "reference_winograd.inc"

#include "reference_fixed_point.inc"

#include "reference_optimizer.inc"

const bf_kernel_table bf_table_reference = {
    .name = "reference",
#include "table.inc"
};

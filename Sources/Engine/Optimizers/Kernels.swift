// SPDX-License-Identifier: Apache-2.0
// The kernel table of this processor, for the optimizer's fused passes.

import CKernels

nonisolated(unsafe) let kernels: bf_kernel_table = bf_kernels().pointee

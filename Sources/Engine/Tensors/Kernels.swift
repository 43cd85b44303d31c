// SPDX-License-Identifier: Apache-2.0
// The kernel table in use, and the cut of long elementwise passes over the threads.

import CKernels

/// Chosen once for this processor (`BITSFUSION_KERNELS` narrows the choice).
package nonisolated(unsafe) let kernels: bf_kernel_table = bf_kernels().pointee

/// The name of the instruction set in use: `avx512`, `avx2` or `portable`.
public var kernelInstructionSet: String { String(cString: kernels.name) }

/// Elements that a thread takes at a time at least: some microseconds of work, many times what handing it out costs.
let elementwiseGrain = 1 << 13

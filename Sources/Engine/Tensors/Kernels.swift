// SPDX-License-Identifier: Apache-2.0
// The kernel tables in use.

import CKernels

/// The kernel table of this processor; `BITSFUSION_KERNELS` selects a narrower instruction set. Arrays of kernels are
/// read with `bf_unary_kernel(kernelTable, BF_MISH)` and its siblings.
package nonisolated(unsafe) let kernelTable: UnsafePointer<bf_kernel_table> = bf_kernels()

/// A copy of the table, for kernels that are single entries.
package nonisolated(unsafe) let kernels: bf_kernel_table = kernelTable.pointee

/// The table of kernels for low-bit codes and int8 activations.
nonisolated(unsafe) let integerKernels: bf_integer_table = bf_integer_kernels().pointee

/// Whether `BITSFUSION_KERNELS` can be `name` on this processor; other values are ignored.
package func hasKernels(named name: String) -> Bool { bf_kernels_named(name) != nil }

/// The name of the instruction set in use: `avx512`, `avx2` or `portable`.
public var kernelInstructionSet: String { String(cString: kernels.name) }

/// The instructions of products in bfloat16: `avx512bf16`, or `float32` on processors without instructions for them.
public var bfloat16InstructionSet: String { String(cString: kernels.bfloat_name) }

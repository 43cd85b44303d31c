// SPDX-License-Identifier: Apache-2.0
// C functions of the benchmarks: loops of multiply-adds in registers and of memory streaming, whose rates are the
// ceilings of the machine, and a C library call that is not available in Swift.
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Runs `rounds` rounds of independent fused multiply-adds in registers of the instruction set `name` ("avx512",
/// "avx2"; otherwise the default target of the compiler). Sets `done` to the number of floating-point operations, 2 per
/// multiply-add. Returns the sum of the chains, so that the compiler cannot remove them. The processor must support the
/// instruction set.
float bm_multiply_add(const char *_Nonnull name, size_t rounds, double *_Nonnull done);

/// out[i] = a[i] + factor * b[i] for i < n (STREAM's triad): 12 bytes of memory traffic per element.
void bm_triad(const float *_Nonnull a, const float *_Nonnull b, float factor, float *_Nonnull out, size_t n);

/// Returns freed memory of the process to the system, if the C library supports it.
void bm_return_freed_memory(void);

#ifdef __cplusplus
}
#endif

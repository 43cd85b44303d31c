// SPDX-License-Identifier: Apache-2.0
// What benchmarks need of C: loops that do nothing but multiply-add in registers, or nothing but stream through memory,
// whose rates are this machine's ceilings; and a call of the C library that Swift does not see.
#pragma once
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Runs `rounds` rounds of independent fused multiply-adds on registers of the instruction set `name` ("avx512", "avx2";
/// anything else: what the compiler targets by default). `done` gets the floating-point operations, 2 per multiply-add;
/// the sum of the chains is returned, so that they cannot be left out. The caller has checked that the processor runs
/// that instruction set.
float bm_multiply_add(const char *_Nonnull name, size_t rounds, double *_Nonnull done);

/// out[i] = a[i] + factor * b[i] for i < n (STREAM's triad): 12 bytes of memory traffic an element.
void bm_triad(const float *_Nonnull a, const float *_Nonnull b, float factor, float *_Nonnull out, size_t n);

/// Returns memory that was freed but is still the process's to the system, where the C library can.
void bm_return_freed_memory(void);

#ifdef __cplusplus
}
#endif

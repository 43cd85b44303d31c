// SPDX-License-Identifier: Apache-2.0
// The multiply-add loop, once per instruction set. Twelve independent chains hide the latency of a multiply-add on
// current cores (4 or 5 cycles, two per cycle) and leave registers for the constants.
#include <string.h>

#include "CBenchmarkSupport.h"

#pragma clang fp contract(fast)

#define CHAINS 12
#define STEPS 64

// acc = acc * 0.5 + 0.5 converges to 1, without overflow or subnormal numbers. The constant is read from a volatile,
// and the sum of the chains is returned, so that the compiler cannot remove the loop.
#define DEFINE_LOOP(NAME, BYTES, ATTRIBUTES)                                       \
    ATTRIBUTES static float NAME(size_t rounds) {                                  \
        typedef float vector __attribute__((vector_size(BYTES)));                  \
        volatile float source = 0.5f;                                              \
        const vector half = source - (vector){0};                                  \
        vector acc[CHAINS];                                                        \
        for (int chain = 0; chain < CHAINS; chain++) acc[chain] = half * (float)chain; \
        for (size_t round = 0; round < rounds; round++)                            \
            for (int step = 0; step < STEPS; step++)                               \
                for (int chain = 0; chain < CHAINS; chain++)                       \
                    acc[chain] = acc[chain] * half + half;                         \
        float total = 0;                                                           \
        for (int chain = 0; chain < CHAINS; chain++) total += acc[chain][0];       \
        return total;                                                              \
    }

#if defined(__x86_64__)
DEFINE_LOOP(loop_avx512, 64, __attribute__((target("avx512f,avx512vl,fma"), noinline)))
DEFINE_LOOP(loop_avx2, 32, __attribute__((target("avx2,fma"), noinline)))
#endif
DEFINE_LOOP(loop_default, 16, __attribute__((noinline)))

static double operations(size_t rounds, size_t bytes) {
    return 2.0 * CHAINS * STEPS * (double)rounds * (double)(bytes / sizeof(float));
}

float bm_multiply_add(const char *name, size_t rounds, double *done) {
#if defined(__x86_64__)
    if (strcmp(name, "avx512") == 0) {
        *done = operations(rounds, 64);
        return loop_avx512(rounds);
    }
    if (strcmp(name, "avx2") == 0) {
        *done = operations(rounds, 32);
        return loop_avx2(rounds);
    }
#endif
    *done = operations(rounds, 16);
    return loop_default(rounds);
}

void bm_triad(const float *a, const float *b, float factor, float *out, size_t n) {
    for (size_t i = 0; i < n; i++) out[i] = a[i] + factor * b[i];
}

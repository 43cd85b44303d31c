// SPDX-License-Identifier: Apache-2.0
// Counter-based random numbers: Philox 4x32-10 (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as
// easy as 1, 2, 3", SC 2011). Every value is a function of (seed, stream, index), whatever the thread count.
#include <math.h>

#include "CKernels.h"

static inline void philox_block(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t out[4]) {
    uint32_t c0 = (uint32_t)counter, c1 = (uint32_t)(counter >> 32);
    uint32_t c2 = (uint32_t)stream, c3 = (uint32_t)(stream >> 32);
    uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = (uint64_t)0xD2511F53u * c0;
        const uint64_t p1 = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        const uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

void bf_philox(uint64_t seed, uint64_t stream, uint64_t counter, uint32_t *out, size_t blocks) {
    for (size_t i = 0; i < blocks; i++) philox_block(seed, stream, counter + i, out + 4 * i);
}

// Uniform in (0, 1], so that the logarithm below is finite.
static inline float open_unit(uint32_t x) { return ((float)(x >> 8) + 1.0f) * 0x1p-24f; }

static inline void normal_pair(uint32_t a, uint32_t b, float out[2]) {
    const float radius = sqrtf(-2.0f * logf(open_unit(a)));
    const float angle = 6.28318530717958648f * ((float)(b >> 8) * 0x1p-24f);
    out[0] = radius * cosf(angle);
    out[1] = radius * sinf(angle);
}

void bf_philox_normal(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n) {
    size_t i = 0;
    while (i < n) {
        const uint64_t index = first + i;
        uint32_t block[4];
        float values[4];
        philox_block(seed, stream, index / 4, block);
        normal_pair(block[0], block[1], values);
        normal_pair(block[2], block[3], values + 2);
        for (size_t lane = (size_t)(index % 4); lane < 4 && i < n; lane++, i++) out[i] = values[lane];
    }
}

void bf_philox_uniform(uint64_t seed, uint64_t stream, uint64_t first, float *out, size_t n) {
    size_t i = 0;
    while (i < n) {
        const uint64_t index = first + i;
        uint32_t block[4];
        philox_block(seed, stream, index / 4, block);
        for (size_t lane = (size_t)(index % 4); lane < 4 && i < n; lane++, i++)
            out[i] = (float)(block[lane] >> 8) * 0x1p-24f;
    }
}

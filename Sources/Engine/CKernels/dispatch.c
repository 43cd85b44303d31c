// SPDX-License-Identifier: Apache-2.0
// Selects the kernel table once, at first use.
#include <stdlib.h>
#include <string.h>

#include "CKernels.h"

extern const bf_kernel_table bf_table_portable;
extern const bf_kernel_table bf_table_reference;
#if defined(__x86_64__)
extern const bf_kernel_table bf_table_avx2;
extern const bf_kernel_table bf_table_avx512;

static bool runs_avx2(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2");
}

static bool runs_avx512(void) {
    return runs_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

void bf_gemm_avx512bf16(const bf_gemm *product);

// The table for AVX-512, with the instructions for bfloat16 where the processor has them; complete before any call.
static bf_kernel_table avx512_table;

__attribute__((constructor)) static void complete_avx512_table(void) {
    avx512_table = bf_table_avx512;
    if (!runs_avx512() || !__builtin_cpu_supports("avx512bf16")) return;
    avx512_table.gemm_bfloat = bf_gemm_avx512bf16;
    avx512_table.bfloat_name = "avx512bf16";
}
#endif

const bf_kernel_table *bf_kernels_named(const char *name) {
    if (strcmp(name, "reference") == 0) return &bf_table_reference;
    if (strcmp(name, "portable") == 0) return &bf_table_portable;
#if defined(__x86_64__)
    if (strcmp(name, "avx2") == 0 && runs_avx2()) return &bf_table_avx2;
    if (strcmp(name, "avx512") == 0 && runs_avx512()) return &avx512_table;
#endif
    return NULL;
}

static const bf_kernel_table *choose(void) {
    const char *requested = getenv("BITSFUSION_KERNELS");
    if (requested != NULL) {
        const bf_kernel_table *named = bf_kernels_named(requested);
        if (named != NULL) return named;
    }
#if defined(__x86_64__)
    if (runs_avx512()) return &avx512_table;
    if (runs_avx2()) return &bf_table_avx2;
#endif
    return &bf_table_portable;
}

const bf_kernel_table *bf_kernels(void) {
    // Concurrent first calls compute the same pointer, so that a relaxed atomic is sufficient.
    static const bf_kernel_table *chosen;
    const bf_kernel_table *table = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
    if (table == NULL) {
        table = choose();
        __atomic_store_n(&chosen, table, __ATOMIC_RELAXED);
    }
    return table;
}

const bf_kernel_table *bf_reference(void) { return &bf_table_reference; }

// SPDX-License-Identifier: Apache-2.0
// Functions of the C library that Swift does not import.
#pragma once
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>

// stdio.h declares it for GNU programs only.
int renameat2(int old_folder, const char *old_path, int new_folder, const char *new_path, unsigned int flags);

// Memory with a descriptor and without a file; -1 on failure. sys/mman.h declares memfd_create for GNU programs only.
static inline int bf_memory_file(const char *name) {
    const unsigned int close_on_exec = 1;
    return (int)syscall(SYS_memfd_create, name, close_on_exec);
}
#else
static inline int bf_memory_file(const char *name) { return -1; }
#endif

// SPDX-License-Identifier: Apache-2.0
// Returns freed memory to the system, so that it does not count in the peak of the next case.
#include "CBenchmarkSupport.h"

// Any header of the C library defines __GLIBC__.
#include <stdlib.h>

#if defined(__GLIBC__)
#include <malloc.h>

void bm_return_freed_memory(void) { malloc_trim(0); }
#else
void bm_return_freed_memory(void) {}
#endif

// SPDX-License-Identifier: Apache-2.0
// Freed memory, so that one case's peak does not count in the next one's.
#include "CBenchmarkSupport.h"

// Any header of the C library's tells which library it is.
#include <stdlib.h>

#if defined(__GLIBC__)
#include <malloc.h>

void bm_return_freed_memory(void) { malloc_trim(0); }
#else
void bm_return_freed_memory(void) {}
#endif

// SPDX-License-Identifier: Apache-2.0
// Headers of the system library of `COpenBLAS`.
#pragma once
#include <cblas.h>
#include <stddef.h>

// LAPACK's symmetric eigen-decomposition by divide and conquer, column-major, in double precision. libopenblas
// contains it, but cblas.h does not declare it. The last two arguments are the lengths of the two strings, which are
// hidden arguments in Fortran.
void dsyevd_(const char *jobz, const char *uplo, const blasint *n, double *a, const blasint *lda, double *w,
             double *work, const blasint *lwork, blasint *iwork, const blasint *liwork, blasint *info,
             size_t jobz_length, size_t uplo_length);

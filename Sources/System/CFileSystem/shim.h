// SPDX-License-Identifier: Apache-2.0
// Functions of the C library that Swift does not import.
#pragma once
#ifdef __linux__
// stdio.h declares it for GNU programs only.
int renameat2(int old_folder, const char *old_path, int new_folder, const char *new_path, unsigned int flags);
#endif

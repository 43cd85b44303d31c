// SPDX-License-Identifier: Apache-2.0
// Headers of libarchive, the system library of `CArchive`.
#pragma once
#include <archive.h>
#include <archive_entry.h>

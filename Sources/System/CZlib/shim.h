// SPDX-License-Identifier: Apache-2.0
// Headers of the system library of `CZlib`.
#pragma once
#include <zlib.h>

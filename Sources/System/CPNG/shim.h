// SPDX-License-Identifier: Apache-2.0
// Headers of the system library of `CPNG`.
#pragma once
#include <png.h>

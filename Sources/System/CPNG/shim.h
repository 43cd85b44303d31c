// SPDX-License-Identifier: Apache-2.0
// Headers of the system library behind `CPNG`.
#pragma once
#include <png.h>

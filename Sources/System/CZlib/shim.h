// SPDX-License-Identifier: Apache-2.0
// Headers of the system library behind `CZlib`.
#pragma once
#include <zlib.h>

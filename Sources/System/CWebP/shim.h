// SPDX-License-Identifier: Apache-2.0
// Headers of the system libraries of `CWebP`.
#pragma once
#include <webp/decode.h>
#include <webp/demux.h>

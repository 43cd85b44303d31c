// Headers of the system library behind `CZlib`.
#pragma once
#include <zlib.h>

// Headers of the system library behind `CPNG`.
#pragma once
#include <png.h>

// Headers of the system library behind `COpenBLAS`.
#pragma once
#include <cblas.h>

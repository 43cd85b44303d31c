#include "CKernels.h"
typedef int bf_placeholder;

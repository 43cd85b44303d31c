# SPDX-License-Identifier: Apache-2.0
"""Large temporary arrays, whose memory returns to the system when they are released. Needs NumPy only.

The heap of the C library keeps released memory if something smaller that is still in use was allocated behind it. After
loading, that would be as much as the model itself.
"""

import math
import mmap

import numpy as np

# Smaller arrays are ordinary arrays: a mapping takes whole pages and a system call.
SMALLEST_MAPPING = 1 << 20


def empty(shape, dtype):
    """An array like numpy.empty. The values are unspecified."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < SMALLEST_MAPPING:
        return np.empty(shape, dtype)
    return np.frombuffer(mmap.mmap(-1, size), dtype).reshape(shape)


def zeros(shape, dtype):
    """An array like numpy.zeros."""
    array = empty(shape, dtype)
    # Mappings begin as zeros.
    if array.nbytes < SMALLEST_MAPPING:
        array[...] = 0
    return array

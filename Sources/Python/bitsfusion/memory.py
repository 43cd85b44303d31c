# SPDX-License-Identifier: Apache-2.0
"""Large temporary arrays, whose memory returns to the system when they are released. Needs NumPy only.

The heap of the C library keeps released memory if something smaller that is still in use was allocated behind it. After
loading, that would be as much as the model itself.
"""

import math
import mmap
import threading

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


class Scratch(threading.local):
    """An array for each thread that is used again and again, because the first access to new memory takes time."""

    bytes = np.empty(0, np.uint8)

    def array(self, shape, dtype):
        """An array like numpy.empty, valid until the next call on the same thread."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if self.bytes.size < size:
            self.bytes = empty((size,), np.uint8)
        return self.bytes[:size].view(dtype).reshape(shape)

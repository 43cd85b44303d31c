# SPDX-License-Identifier: Apache-2.0
"""The layout of codes in memory: bit fields that PyTorch can unpack with shifts of whole rows. Needs NumPy only.

A code of n bits is divided into parts of 1, 2, 4 or 8 bits. The fields of a byte belong to different output channels,
so that one shift unpacks whole rows: with R rows in a part of w bits, bits w j ... w (j + 1) - 1 of byte [r, i] belong
to element i of output channel j R + r. R is a multiple of a segment, ceil(OC / 8) channels, in every part.

    levels       3    5       9    17      33      65, 129, 255   257
    parts        2    2 + 1   4    4 + 1   4 + 2   8              8 + 1     bits, the lowest ones first
"""

import numpy as np

from . import memory

PARTS = {2: (2,), 3: (2, 1), 4: (4,), 5: (4, 1), 6: (4, 2), 7: (8,), 8: (8,), 9: (8, 1)}


def part_widths(levels):
    """The widths of the parts of a code, in bits, the lowest bits first."""
    return PARTS[(levels - 1).bit_length()]


def segment(channels):
    """The number of output channels of a segment."""
    return -(-channels // 8)


def pack(codes, levels):
    """Packs codes.

    Args:
        codes: uint8 or uint16 [OC, K], from 0 to levels - 1.

    Returns:
        one array for each part, uint8 [R, K]; R is segment(OC) times the width of the part.
    """
    channels, columns = codes.shape
    parts, low = [], 0
    for width in part_widths(levels):
        rows = segment(channels) * width
        part = memory.zeros((rows, columns), np.uint8)
        for field in range(8 // width):
            values = codes[field * rows : (field + 1) * rows]
            if low:
                values = values >> values.dtype.type(low)
            if low + width < (levels - 1).bit_length():
                values = values & values.dtype.type((1 << width) - 1)
            values = values.astype(np.uint8, copy=False)
            if field:
                values = values << np.uint8(width * field)
            part[: len(values)] |= values
        parts.append(part)
        low += width
    return parts

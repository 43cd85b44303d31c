# SPDX-License-Identifier: Apache-2.0
"""Decode `radix` and `fixed` codes; see "How codes become bytes" in Docs/Formats.md. Needs NumPy only."""

import numpy as np

# For each number of levels, k codes form a group of w bits. 255 levels have one code in each byte.
RADIX = {3: (5, 8), 5: (24, 56), 9: (5, 16), 17: (11, 45), 33: (11, 56), 65: (10, 61), 129: (9, 64), 255: (1, 8),
         257: (7, 57)}
# Groups that are decoded at a time, so that intermediate values stay in the cache. A multiple of 8.
BLOCK = 1 << 14


class CodesError(ValueError):
    """The bytes are not the codes of a layer; the text says why."""


def read_groups(data, count, levels, encoding, new_array=np.empty):
    """The codes in `data`.

    Args:
        data: uint8 [bytes].
        count: the number of codes.
        levels: the number of levels, a key of RADIX.
        encoding: "radix" or "fixed".
        new_array: makes an array from shape and type.

    Returns:
        codes from 0 to levels - 1, uint8 [count], uint16 for 257 levels.

    Raises:
        CodesError: the number of bytes or a code is wrong.
    """
    base, (k, w) = levels, RADIX[levels]
    if encoding == "fixed" and levels != 255:
        # Eight fields of n bits take n bytes. They are one number in base 2^n, if it has at most 64 bits.
        n = (levels - 1).bit_length()
        base = 1 << n
        k, w = (8, 8 * n) if n <= 8 else (1, n)
    last = count % k
    last_bits = 0 if last == 0 else (base**last - 1).bit_length()
    expected = -(-(count // k * w + last_bits) // 8)
    if data.size != expected:
        raise CodesError(f"expected {expected} bytes for {count} codes of {levels} levels, found {data.size}")
    groups = -(-count // k)
    codes = new_array((groups, k), np.uint8 if levels <= 256 else np.uint16)
    for first in range(0, groups, BLOCK):
        block = codes[first : first + BLOCK]
        numbers = _numbers(data, first, len(block), w)
        if numbers.size and int(numbers.max()) >= base**k:
            raise CodesError(f"a group of {k} codes is above {levels}^{k}")
        if first + BLOCK >= groups and last and int(numbers[-1]) >= base**last:
            raise CodesError(f"the last group has more than {last} codes, or is not padded with zero bits")
        _split(numbers, base, block)
    codes = codes.ravel()[:count]
    if base != levels and codes.size and codes.max() >= levels:
        raise CodesError(f"expected codes below {levels}, found {codes.max()}")
    return codes


def _numbers(data, first, count, w):
    """The numbers of `count` groups of w bits from group `first`, a multiple of 8, on."""
    data = data[first // 8 * w : -(-((first + count) * w) // 8)]
    if w in (8, 16):
        # The last group may take fewer bytes.
        data = np.concatenate([data, np.zeros(count * w // 8 - data.size, np.uint8)]) if w == 16 else data
        return data.view(np.uint8 if w == 8 else "<u2")
    # Eight groups take w bytes; a number is read from nine bytes.
    rows = -(-count // 8)
    padded = np.zeros(rows * w + 9, np.uint8)
    padded[: data.size] = data
    numbers = np.empty((rows, 8), np.uint64)
    for group in range(8):
        byte, shift = group * w // 8, group * w % 8
        window = np.lib.stride_tricks.as_strided(padded[byte:], (rows, 9), (w, 1))
        low = np.ascontiguousarray(window[:, :8]).view("<u8")[:, 0]
        if shift:
            low = low >> np.uint64(shift) | window[:, 8].astype(np.uint64) << np.uint64(64 - shift)
        numbers[:, group] = low & np.uint64((1 << w) - 1)
    return numbers.ravel()[:count]


def _split(numbers, base, codes):
    """Writes the digits of numbers in a base to the rows of `codes`, [groups, k]; the lowest digit comes first."""
    kind = numbers.dtype.type
    k = codes.shape[1]
    for digit in range(k - 1):
        if base & (base - 1) == 0:
            codes[:, digit] = numbers & kind(base - 1)
            numbers = numbers >> kind(base.bit_length() - 1)
        else:
            quotient = numbers // kind(base)
            codes[:, digit] = numbers - quotient * kind(base)
            numbers = quotient
    codes[:, k - 1] = numbers

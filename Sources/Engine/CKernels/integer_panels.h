// SPDX-License-Identifier: Apache-2.0
// The memory layout of low-bit weights, and packing and unpacking for every vectorized table.
//
// A layer is a sequence of panels of 32 outputs, the last one padded; a panel is the sequence of its segments; a
// segment is bf_integer_depth(K) inputs in records of 128 bytes. A record is 32 dwords, one per output; byte j of a
// dword holds 8 / bits codes, those of the inputs first + 4 g + j for g = 0 ... 8 / bits - 1, code g in the bits from
// bits * g on:
//
//     2 bits, record of 16 inputs, byte j:   k=12+j k=8+j k=4+j k=j     (highest bits first)
//     4 bits, record of 8 inputs, byte j:    k=4+j  k=j
//     8 bits, record of 4 inputs, byte j:    k=j
//
// A shift and a mask leave four consecutive inputs of one output in every dword, the operand of a dot product of four
// bytes.
#pragma once
#include "CKernels.h"

#define BF_RECORD_BYTES 128
/// Codes of at most this many levels are at most 128: the sum of two products with activations within +-127 fits into
/// 16 bits. Codes of more levels are `wide`.
#define BF_NARROW_LEVELS 129

/// Number of inputs of a record.
static inline size_t record_inputs(int bits) { return (size_t)(32 / bits); }

static inline size_t segment_bytes(bf_integer_shape shape) {
    return bf_integer_depth(shape.inputs) / record_inputs(shape.bits) * BF_RECORD_BYTES;
}

/// Bytes of one panel.
static inline size_t panel_bytes(bf_integer_shape shape) { return segment_bytes(shape) * shape.segments; }

void bf_integer_pack(const uint8_t *codes, bf_integer_strides strides, bf_integer_shape shape, size_t first_panel,
                     size_t count, uint8_t *panels);
void bf_integer_unpack(const uint8_t *panels, bf_integer_shape shape, size_t first_panel, size_t count, uint8_t *codes,
                       bf_integer_strides strides);

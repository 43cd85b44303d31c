// SPDX-License-Identifier: Apache-2.0
// Sizes of panels, and packing and unpacking of codes, four inputs at a time. Layout: integer_panels.h.
#include "integer_panels.h"

#include <string.h>

// Four consecutive codes in memory are the bytes of a dword, lowest byte first.
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "panels are packed by dwords");

int bf_integer_bits(int levels) {
    if (levels < 2 || levels > BF_INTEGER_MAX_LEVELS) return 0;
    return levels <= 4 ? 2 : levels <= 16 ? 4 : 8;
}

size_t bf_integer_depth(size_t inputs) {
    return (inputs + BF_INTEGER_DEPTH - 1) / BF_INTEGER_DEPTH * BF_INTEGER_DEPTH;
}

size_t bf_integer_panels(size_t outputs) { return (outputs + BF_INTEGER_PANEL - 1) / BF_INTEGER_PANEL; }

size_t bf_integer_panel_bytes(bf_integer_shape shape) {
    return panel_bytes(shape) * bf_integer_panels(shape.outputs);
}

// Codes of `used` inputs of one output, padded with zeros to BF_INTEGER_DEPTH.
static inline void gather_codes(const uint8_t *codes, size_t step, size_t used, uint8_t *out) {
    if (used == BF_INTEGER_DEPTH && step == 1) {
        memcpy(out, codes, BF_INTEGER_DEPTH);
    } else if (used == BF_INTEGER_DEPTH) {
        for (size_t i = 0; i < BF_INTEGER_DEPTH; i++) out[i] = codes[i * step];
    } else {
        memset(out, 0, BF_INTEGER_DEPTH);
        for (size_t i = 0; i < used; i++) out[i] = codes[i * step];
    }
}

void bf_integer_pack(const uint8_t *codes, bf_integer_strides strides, bf_integer_shape shape, size_t first_panel,
                     size_t count, uint8_t *panels) {
    const size_t groups = (size_t)(8 / shape.bits), depth = bf_integer_depth(shape.inputs);
    for (size_t panel = first_panel; panel < first_panel + count; panel++)
        for (size_t o = 0; o < BF_INTEGER_PANEL; o++) {
            const size_t output = panel * BF_INTEGER_PANEL + o;
            uint8_t *to = panels + panel * panel_bytes(shape) + 4 * o;
            for (size_t s = 0; s < shape.segments; s++)
                for (size_t k = 0; k < depth; k += BF_INTEGER_DEPTH) {
                    const size_t left = shape.inputs - k;
                    const size_t used = output >= shape.outputs   ? 0
                                        : left < BF_INTEGER_DEPTH ? left
                                                                  : BF_INTEGER_DEPTH;
                    uint8_t row[BF_INTEGER_DEPTH];
                    if (used == 0) memset(row, 0, sizeof row);
                    else
                        gather_codes(codes + output * strides.output + s * strides.segment + k * strides.input,
                                     strides.input, used, row);
                    for (size_t i = 0; i < BF_INTEGER_DEPTH; i += 4 * groups, to += BF_RECORD_BYTES) {
                        uint32_t word = 0;
                        for (size_t g = 0; g < groups; g++) {
                            uint32_t four;
                            memcpy(&four, row + i + 4 * g, sizeof four);
                            word |= four << ((size_t)shape.bits * g);
                        }
                        memcpy(to, &word, sizeof word);
                    }
                }
        }
}

void bf_integer_unpack(const uint8_t *panels, bf_integer_shape shape, size_t first_panel, size_t count, uint8_t *codes,
                       bf_integer_strides strides) {
    const size_t groups = (size_t)(8 / shape.bits), inputs = record_inputs(shape.bits);
    const uint32_t mask = 0x01010101u * ((1u << shape.bits) - 1);
    for (size_t output = first_panel * BF_INTEGER_PANEL;
         output < shape.outputs && output < (first_panel + count) * BF_INTEGER_PANEL; output++)
        for (size_t s = 0; s < shape.segments; s++) {
            const uint8_t *from = panels + output / BF_INTEGER_PANEL * panel_bytes(shape) + s * segment_bytes(shape) +
                                  4 * (output % BF_INTEGER_PANEL);
            uint8_t *to = codes + output * strides.output + s * strides.segment;
            for (size_t k = 0; k < shape.inputs; k += inputs, from += BF_RECORD_BYTES) {
                uint32_t word;
                memcpy(&word, from, sizeof word);
                for (size_t g = 0; g < groups; g++) {
                    const uint32_t four = word >> ((size_t)shape.bits * g) & mask;
                    for (size_t j = 0; j < 4 && k + 4 * g + j < shape.inputs; j++)
                        to[(k + 4 * g + j) * strides.input] = (uint8_t)(four >> (8 * j));
                }
            }
        }
}

// SPDX-License-Identifier: Apache-2.0
// The scalar reference of every integer kernel: one plain loop each. Float operations are those documented in
// CKernelsInteger.h, in the same order, so that the tests can require equal bits.
#include <math.h>
#include <string.h>

#include "CKernels.h"
#include "integer_panels.h"

#pragma clang fp contract(off)

// The byte offset of code (o, s, k), and the position of its lowest bit.
static size_t position_of_code(bf_integer_shape shape, size_t o, size_t s, size_t k, int *shift) {
    const size_t inputs = record_inputs(shape.bits), within = k % inputs;
    *shift = (int)(within / 4) * shape.bits;
    return o / BF_INTEGER_PANEL * panel_bytes(shape) + s * segment_bytes(shape) + k / inputs * BF_RECORD_BYTES +
           o % BF_INTEGER_PANEL * 4 + within % 4;
}

static int code_at(const uint8_t *panels, bf_integer_shape shape, size_t o, size_t s, size_t k) {
    int shift;
    const size_t position = position_of_code(shape, o, s, k, &shift);
    return panels[position] >> shift & ((1 << shape.bits) - 1);
}

static void pack_panels(const uint8_t *codes, bf_integer_strides strides, bf_integer_shape shape, size_t first_panel,
                        size_t count, uint8_t *panels) {
    memset(panels + first_panel * panel_bytes(shape), 0, count * panel_bytes(shape));
    for (size_t o = first_panel * BF_INTEGER_PANEL;
         o < shape.outputs && o < (first_panel + count) * BF_INTEGER_PANEL; o++)
        for (size_t s = 0; s < shape.segments; s++)
            for (size_t k = 0; k < shape.inputs; k++) {
                int shift;
                const size_t position = position_of_code(shape, o, s, k, &shift);
                const uint8_t code = codes[o * strides.output + s * strides.segment + k * strides.input];
                panels[position] = (uint8_t)(panels[position] | code << shift);
            }
}

static void unpack_panels(const uint8_t *panels, bf_integer_shape shape, size_t first_panel, size_t count,
                          uint8_t *codes, bf_integer_strides strides) {
    for (size_t o = first_panel * BF_INTEGER_PANEL;
         o < shape.outputs && o < (first_panel + count) * BF_INTEGER_PANEL; o++)
        for (size_t s = 0; s < shape.segments; s++)
            for (size_t k = 0; k < shape.inputs; k++)
                codes[o * strides.output + s * strides.segment + k * strides.input] =
                    (uint8_t)code_at(panels, shape, o, s, k);
}

static void decode_rows(const uint8_t *panels, bf_integer_shape shape, size_t first_output, size_t count,
                        const float *scales, float *out, bf_integer_strides strides) {
    for (size_t o = first_output; o < first_output + count; o++)
        for (size_t s = 0; s < shape.segments; s++)
            for (size_t k = 0; k < shape.inputs; k++)
                out[(o - first_output) * strides.output + s * strides.segment + k * strides.input] =
                    scales[o] * (float)(code_at(panels, shape, o, s, k) - shape.offset);
}

// One pixel; its values have stride `step`.
static void quantize_pixel(const float *x, size_t count, size_t step, int8_t *out, size_t depth, float *scale,
                           int32_t *sum) {
    float largest = 0;
    bool finite = true;
    for (size_t k = 0; k < count; k++) {
        finite = finite && isfinite(x[k * step]);
        largest = fmaxf(largest, fabsf(x[k * step]));
    }
    const bool valid = finite && largest >= 0x1p-96f;
    *scale = valid ? largest / 127.0f : finite ? 0.0f : NAN;
    *sum = 0;
    memset(out, 0, depth);
    if (!valid) return;
    const float factor = 127.0f / largest;
    for (size_t k = 0; k < count; k++) {
        out[k] = (int8_t)rintf(x[k * step] * factor);
        *sum += out[k];
    }
}

static void quantize_rows(const float *x, size_t rows, size_t channels, size_t ldx, int8_t *out, size_t depth,
                          float *scales, int32_t *sums) {
    for (size_t r = 0; r < rows; r++)
        quantize_pixel(x + r * ldx, channels, 1, out + r * depth, depth, scales + r, sums + r);
}

static void quantize_image(const float *x, size_t channels, size_t plane, size_t first, size_t count, int8_t *out,
                           size_t depth, float *scales, int32_t *sums) {
    for (size_t i = 0; i < count; i++)
        quantize_pixel(x + first + i, channels, plane, out + i * depth, depth, scales + i, sums + i);
}

static size_t product_scratch(const bf_integer_product *p) {
    (void)p;
    return 0;
}

static void product(const bf_integer_product *p, void *scratch) {
    (void)scratch;
    const size_t depth = bf_integer_depth(p->shape.inputs), end = (p->first_panel + p->panels) * BF_INTEGER_PANEL;
    for (size_t r = p->first_row; r < p->first_row + p->rows; r++)
        for (size_t o = p->first_panel * BF_INTEGER_PANEL; o < p->shape.outputs && o < end; o++) {
            float total = 0;
            for (size_t s = 0; s < p->shape.segments; s++) {
                const int64_t first = p->row_pixel ? p->row_pixel[r] : (int64_t)r;
                const size_t pixel = (size_t)(first + (p->segment_step ? p->segment_step[s] : 0));
                int32_t sum = -p->shape.offset * p->pixel_sums[pixel];
                for (size_t k = 0; k < p->shape.inputs; k++)
                    sum += code_at(p->weights, p->shape, o, s, k) * p->pixels[pixel * depth + k];
                const float value = (float)sum * p->pixel_scales[pixel];
                total = s == 0 ? value : total + value;
            }
            total = total * p->weight_scales[o] + (p->bias ? p->bias[o] : 0.0f);
            total = total + (p->channel_bias ? p->channel_bias[o] : 0.0f);
            const size_t to = p->channels_first ? o * p->y_step + r : r * p->y_step + o;
            p->y[to] = p->addend ? total + p->addend[to] : total;
        }
}

#include "integer_reference_attention.inc"

const bf_integer_table bf_integer_table_reference = {
    .name = "reference",
    .pack_panels = pack_panels,
    .unpack_panels = unpack_panels,
    .decode_rows = decode_rows,
    .quantize_rows = quantize_rows,
    .quantize_image = quantize_image,
    .product_scratch = product_scratch,
    .product = product,
    .attention_panel_bytes = attention_panel_bytes,
    .attention_prepack = attention_prepack,
    .attention_queries = 1,
    .attention_scratch = attention_scratch,
    .attention = attend,
};

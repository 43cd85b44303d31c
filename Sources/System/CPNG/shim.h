// SPDX-License-Identifier: Apache-2.0
// Headers of the system library of `CPNG`, and decoding to 8-bit RGB. libpng reports errors with longjmp, which
// must not cross Swift frames: it stays inside of bf_png_decode_rgb. libpng's simplified interface cannot be used,
// because it applies the file's gamma and blends alpha with a background; the decoder uses the values as stored.
#pragma once
#include <png.h>
#include <setjmp.h>
#include <string.h>

/// The bytes to decode and the place for an error message.
typedef struct {
    const png_byte *bytes;
    size_t count, offset;
    char *message;
    size_t capacity;
} bf_png_input;

static inline void bf_png_fail(png_structp png, png_const_charp text) {
    bf_png_input *input = (bf_png_input *)png_get_error_ptr(png);
    strncpy(input->message, text, input->capacity - 1);
    png_longjmp(png, 2);
}

static inline void bf_png_ignore(png_structp png, png_const_charp text) {
    (void)png;
    (void)text;
}

static inline void bf_png_take(png_structp png, png_bytep output, size_t count) {
    bf_png_input *input = (bf_png_input *)png_get_io_ptr(png);
    if (count > input->count - input->offset) png_longjmp(png, 1);
    memcpy(output, input->bytes + input->offset, count);
    input->offset += count;
}

/// Decodes a PNG file in memory to `pixels`, height x width x 3 bytes. Gray and palette images become RGB, alpha is
/// dropped, of 16 bits the upper 8 are kept. `width` and `height` are those of the file. Returns 0; 1 if the bytes end
/// too early; 2 if the file is damaged or memory is missing, with a text in `message`, which has room for `capacity`
/// bytes, all 0 before the call.
static inline int bf_png_decode_rgb(
    const png_byte *bytes, size_t count, png_uint_32 width, png_uint_32 height, png_byte *pixels, char *message,
    size_t capacity) {
    bf_png_input input = {bytes, count, 0, message, capacity};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, bf_png_fail, bf_png_ignore);
    if (png == NULL) return 2;
    png_infop info = png_create_info_struct(png);
    switch (setjmp(png_jmpbuf(png))) {
    case 0: break;
    case 1: png_destroy_read_struct(&png, &info, NULL); return 1;
    default: png_destroy_read_struct(&png, &info, NULL); return 2;
    }
    if (info == NULL) png_error(png, "not enough memory");
    png_set_read_fn(png, &input, bf_png_take);
    png_set_user_limits(png, width, height);
    // No chunk needs more memory than the file has bytes. Texts and profiles that are larger when they are decompressed
    // are left out.
    png_set_chunk_malloc_max(png, count);
    png_read_info(png, info);
    int color = png_get_color_type(png, info);
    if (color == PNG_COLOR_TYPE_PALETTE) png_set_palette_to_rgb(png);
    if (color == PNG_COLOR_TYPE_GRAY) png_set_expand_gray_1_2_4_to_8(png);
    if (!(color & PNG_COLOR_MASK_COLOR)) png_set_gray_to_rgb(png);
    png_set_strip_16(png);
    png_set_strip_alpha(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    if (png_get_rowbytes(png, info) != (size_t)width * 3) png_error(png, "unexpected row size");
    for (int pass = 0; pass < passes; pass++) {
        for (png_uint_32 row = 0; row < height; row++) {
            png_read_row(png, pixels + (size_t)row * width * 3, NULL);
        }
    }
    png_destroy_read_struct(&png, &info, NULL);
    return 0;
}

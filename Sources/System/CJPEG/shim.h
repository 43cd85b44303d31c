// SPDX-License-Identifier: Apache-2.0
// Headers of the system library of `CJPEG`, and decoding to 8-bit RGB. libjpeg reports errors through a callback that
// must not return: the longjmp, which must not cross Swift frames, stays inside of bf_jpeg_decode_rgb.
#pragma once
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <jpeglib.h>
#include <setjmp.h>

/// libjpeg's error manager, and what its callback needs. The first member is what libjpeg knows.
typedef struct {
    struct jpeg_error_mgr manager;
    jmp_buf jump;
    char *message;
    size_t capacity;
} bf_jpeg_errors;

static inline void bf_jpeg_stop(j_common_ptr decoder, const char *text) {
    bf_jpeg_errors *errors = (bf_jpeg_errors *)decoder->err;
    strncpy(errors->message, text, errors->capacity - 1);
    longjmp(errors->jump, 2);
}

static inline void bf_jpeg_fail(j_common_ptr decoder) {
    char text[JMSG_LENGTH_MAX];
    decoder->err->format_message(decoder, text);
    bf_jpeg_stop(decoder, text);
}

static inline void bf_jpeg_ignore(j_common_ptr decoder) { (void)decoder; }

static inline void bf_jpeg_ignore_source(j_decompress_ptr decoder) { (void)decoder; }

/// Called when all bytes are used.
static inline boolean bf_jpeg_fill(j_decompress_ptr decoder) {
    longjmp(((bf_jpeg_errors *)decoder->err)->jump, 1);
}

static inline void bf_jpeg_skip(j_decompress_ptr decoder, long count) {
    if (count <= 0) return;
    if ((size_t)count > decoder->src->bytes_in_buffer) (void)bf_jpeg_fill(decoder);
    decoder->src->next_input_byte += count;
    decoder->src->bytes_in_buffer -= (size_t)count;
}

/// Called for each row of blocks. Encoders write about ten scans; each scan of a damaged file can take as long as a
/// whole image.
static inline void bf_jpeg_limit_scans(j_common_ptr decoder) {
    if (((j_decompress_ptr)decoder)->input_scan_number > 500) bf_jpeg_stop(decoder, "more than 500 scans");
}

/// Converts CMYK as Adobe's programs store it, inverted, with Pillow's rounding.
static inline void bf_jpeg_rgb_of_cmyk(const JSAMPLE *cmyk, JDIMENSION width, unsigned char *rgb) {
    for (JDIMENSION column = 0; column < width; column++, cmyk += 4) {
        int white = cmyk[3];
        for (int channel = 0; channel < 3; channel++) {
            int product = (255 - cmyk[channel]) * white + 128;
            *rgb++ = (unsigned char)(white - (((product >> 8) + product) >> 8));
        }
    }
}

/// Decodes a JPEG file in memory to `pixels`, height x width x 3 bytes. Gray and CMYK images become RGB. `width` and
/// `height` are those of the file. Returns 0; 1 if the bytes end too early; 2 if the file is damaged, with a text in
/// `message`, which has room for `capacity` bytes, all 0 before the call.
static inline int bf_jpeg_decode_rgb(
    const unsigned char *bytes, size_t count, JDIMENSION width, JDIMENSION height, unsigned char *pixels,
    char *message, size_t capacity) {
    struct jpeg_decompress_struct decoder;
    bf_jpeg_errors errors = {.message = message, .capacity = capacity};
    decoder.err = jpeg_std_error(&errors.manager);
    errors.manager.error_exit = bf_jpeg_fail;
    errors.manager.output_message = bf_jpeg_ignore;
    switch (setjmp(errors.jump)) {
    case 0: break;
    case 1: jpeg_destroy_decompress(&decoder); return 1;
    default: jpeg_destroy_decompress(&decoder); return 2;
    }
    jpeg_create_decompress(&decoder);
    struct jpeg_source_mgr source = {
        bytes, count, bf_jpeg_ignore_source, bf_jpeg_fill, bf_jpeg_skip, jpeg_resync_to_restart, bf_jpeg_ignore_source};
    struct jpeg_progress_mgr progress = {.progress_monitor = bf_jpeg_limit_scans};
    decoder.src = &source;
    decoder.progress = &progress;
    jpeg_read_header(&decoder, TRUE);
    if (decoder.image_width != width || decoder.image_height != height) {
        bf_jpeg_stop((j_common_ptr)&decoder, "two different sizes");
    }
    int is_cmyk = decoder.num_components == 4;
    decoder.out_color_space = is_cmyk ? JCS_CMYK : JCS_RGB;
    jpeg_start_decompress(&decoder);
    JSAMPARRAY cmyk = NULL;
    if (is_cmyk) cmyk = decoder.mem->alloc_sarray((j_common_ptr)&decoder, JPOOL_IMAGE, width * 4, 1);
    while (decoder.output_scanline < height) {
        JSAMPROW row = pixels + (size_t)decoder.output_scanline * width * 3;
        jpeg_read_scanlines(&decoder, is_cmyk ? cmyk : &row, 1);
        if (is_cmyk) bf_jpeg_rgb_of_cmyk(cmyk[0], width, row);
    }
    jpeg_finish_decompress(&decoder);
    jpeg_destroy_decompress(&decoder);
    return 0;
}

// SPDX-License-Identifier: Apache-2.0
// Headers of the system library behind `CHDF5`. HDF5's constants are macros that expand to globals which are -1 until
// the library is open, and Swift cannot see them: each is a function here. Every real HDF5 function is called as it is.
#pragma once
// The one API of the two that every HDF5 from 1.10 to 2.0 offers.
#define H5_USE_110_API
#include <hdf5.h>
#include <stdio.h>

#define BF_H5_ID(function, macro) \
    static inline hid_t function(void) { return macro; }
#define BF_H5_FLAG(function, macro) \
    static inline unsigned function(void) { return macro; }

// Types as they lie on disk: little-endian on every machine, so that files are the same everywhere.
BF_H5_ID(bf_h5t_ieee_f32le, H5T_IEEE_F32LE)
BF_H5_ID(bf_h5t_std_u8le, H5T_STD_U8LE)
BF_H5_ID(bf_h5t_std_i8le, H5T_STD_I8LE)
BF_H5_ID(bf_h5t_std_u16le, H5T_STD_U16LE)
BF_H5_ID(bf_h5t_std_i32le, H5T_STD_I32LE)
BF_H5_ID(bf_h5t_std_i64le, H5T_STD_I64LE)
BF_H5_ID(bf_h5t_std_u64le, H5T_STD_U64LE)
BF_H5_ID(bf_h5t_c_s1, H5T_C_S1)

BF_H5_ID(bf_h5p_file_access, H5P_FILE_ACCESS)
BF_H5_ID(bf_h5p_file_create, H5P_FILE_CREATE)
BF_H5_ID(bf_h5p_group_create, H5P_GROUP_CREATE)
BF_H5_ID(bf_h5p_dataset_create, H5P_DATASET_CREATE)
BF_H5_ID(bf_h5p_default, H5P_DEFAULT)

BF_H5_ID(bf_h5s_all, H5S_ALL)

BF_H5_FLAG(bf_h5f_acc_rdonly, H5F_ACC_RDONLY)
BF_H5_FLAG(bf_h5f_acc_trunc, H5F_ACC_TRUNC)

/// IEEE 754 binary16, bit for bit the type that h5py writes for numpy.float16: sign 15, exponent 10..14, mantissa 0..9.
/// Returns a new type that the caller closes, or a negative number.
static inline hid_t bf_h5t_create_float16(void) {
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type < 0) return type;
    if (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 || H5Tset_ebias(type, 15) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

/// A UTF-8 string type of `size` bytes (> 0), padded with zero bytes, new; the caller closes it. Negative on failure.
static inline hid_t bf_h5t_create_string(size_t size) {
    hid_t type = H5Tcopy(H5T_C_S1);
    if (type < 0) return type;
    if (H5Tset_size(type, size) < 0 || H5Tset_cset(type, H5T_CSET_UTF8) < 0 ||
        H5Tset_strpad(type, H5T_STR_NULLPAD) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

/// Stops HDF5 from printing its error stack on stderr. The setting is per thread, so it is made before every call.
static inline void bf_h5_silence(void) { H5Eset_auto2(H5E_DEFAULT, NULL, NULL); }

typedef struct {
    char *text;
    size_t capacity;
} bf_h5_text;

static herr_t bf_h5_take_first_record(unsigned index, const H5E_error2_t *record, void *context) {
    bf_h5_text *out = (bf_h5_text *)context;
    if (index == 0)
        snprintf(out->text, out->capacity, "%s: %s", record->func_name ? record->func_name : "HDF5",
                 record->desc ? record->desc : "no description");
    return 0;
}

/// Writes the first record of this thread's error stack, which is the cause ("function: description"), to `text`.
/// Leaves an empty string where there is no record. Must run before the next HDF5 call of this thread.
static inline void bf_h5_first_error(char *text, size_t capacity) {
    bf_h5_text out = {text, capacity};
    if (capacity > 0) text[0] = 0;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, bf_h5_take_first_record, &out);
}

// The calls below have a number in their name from HDF5 1.12 on, which 1.10 does not know; C picks the right one.

/// 1 where the link `name` in `group` is a hard one, 0 where it leads elsewhere, negative on failure.
static inline int bf_h5_is_hard_link(hid_t group, const char *name) {
    H5L_info_t info;
    if (H5Lget_info(group, name, &info, H5P_DEFAULT) < 0) return -1;
    return info.type == H5L_TYPE_HARD;
}

/// The `H5O_type_t` of the object `name` in `group`, negative on failure.
static inline int bf_h5_object_type(hid_t group, const char *name) {
    H5O_info_t info;
    if (H5Oget_info_by_name2(group, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) return -1;
    return (int)info.type;
}

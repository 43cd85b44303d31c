// SPDX-License-Identifier: Apache-2.0
// Headers of the system library of `CHDF5`. HDF5's constants are macros, which Swift does not import, so that each is a
// function here. They expand to globals that are -1 until the library is open.
#pragma once
// The API that all versions from 1.10 to 2.0 support.
#define H5_USE_110_API
#include <hdf5.h>
#include <stdio.h>

#define BF_H5_ID(function, macro) \
    static inline hid_t function(void) { return macro; }
#define BF_H5_FLAG(function, macro) \
    static inline unsigned function(void) { return macro; }

// Types in files: little-endian on all machines, so that files are the same.
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

/// IEEE 754 binary16, the type that h5py writes for numpy.float16: sign in bit 15, exponent in bits 10...14, mantissa
/// in bits 0...9. Returns a new type, which the caller closes, or a negative number on failure.
static inline hid_t bf_h5t_create_float16(void) {
    hid_t type = H5Tcopy(H5T_IEEE_F32LE);
    if (type < 0) return type;
    if (H5Tset_fields(type, 15, 10, 5, 0, 10) < 0 || H5Tset_size(type, 2) < 0 || H5Tset_ebias(type, 15) < 0) {
        H5Tclose(type);
        return -1;
    }
    return type;
}

/// Returns a new UTF-8 string type of `size` bytes (> 0), padded with zero bytes, which the caller closes, or a
/// negative number on failure.
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

/// Disables the output of HDF5's error stack on stderr. The setting applies to the current thread only.
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

/// Writes the first record of this thread's error stack, the cause of the error ("function: description"), to `text`;
/// an empty string if there is no record. Must be called before the next HDF5 call of this thread.
static inline void bf_h5_first_error(char *text, size_t capacity) {
    bf_h5_text out = {text, capacity};
    if (capacity > 0) text[0] = 0;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, bf_h5_take_first_record, &out);
}

// From HDF5 1.12 on, the functions below have numbers in their names, which macros add.

/// Returns 1 if the link `name` in `group` is a hard link, 0 for other links, a negative number on failure.
static inline int bf_h5_is_hard_link(hid_t group, const char *name) {
    H5L_info_t info;
    if (H5Lget_info(group, name, &info, H5P_DEFAULT) < 0) return -1;
    return info.type == H5L_TYPE_HARD;
}

/// Returns the `H5O_type_t` of the object `name` in `group`, or a negative number on failure.
static inline int bf_h5_object_type(hid_t group, const char *name) {
    H5O_info_t info;
    if (H5Oget_info_by_name2(group, name, &info, H5O_INFO_BASIC, H5P_DEFAULT) < 0) return -1;
    return (int)info.type;
}

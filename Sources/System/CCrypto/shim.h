// SPDX-License-Identifier: Apache-2.0
// Headers of the system library of `CCrypto`.
#pragma once
#include <openssl/evp.h>

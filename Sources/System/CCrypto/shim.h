// Headers of the system library behind `CCrypto`.
#pragma once
#include <openssl/evp.h>

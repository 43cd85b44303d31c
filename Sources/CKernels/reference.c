#define BF_TABLE bf_table_reference
#define BF_NAME "reference"
#include "kernels.inc"

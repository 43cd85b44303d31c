# SPDX-License-Identifier: Apache-2.0
"""Every operation that twin.py can be asked for, by name.

An operation is built from (tensors, settings, dtype), with tensors a mapping of names to
float32 tensors, each read when it is asked for. It has
    prepare()   what is not measured, before each pass
    run()       one pass
    results()   a pass from the given tensors, and what it made, by the names that the other side uses
"""

import kernels
import stage_one
import unets

OPERATIONS = kernels.OPERATIONS | unets.OPERATIONS | stage_one.OPERATIONS

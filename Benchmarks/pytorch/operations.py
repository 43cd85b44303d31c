# SPDX-License-Identifier: Apache-2.0
"""All operations of twin.py, by name.

An operation is built from (tensors, settings, dtype), with tensors a mapping of names to
float32 tensors, each read when it is accessed. It has
    prepare()   called before each pass, outside the measured time
    run()       one pass
    results()   the results of one pass on the given tensors, by the names that the Swift program uses
"""

import autoencoders
import data_sets
import kernels
import pipelines
import stage_one
import unets

OPERATIONS = (
    kernels.OPERATIONS | unets.OPERATIONS | stage_one.OPERATIONS | autoencoders.OPERATIONS | pipelines.OPERATIONS
    | data_sets.OPERATIONS)

# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/DataSetsTests/Fixtures/captioned-set.h5, a distillation set with its captions, and float64-set.h5.

Run by hand:  python Tests/Fixtures/make_data_set_fixture.py      (h5py 3)

Two latents of the tiny test model (3 channels, 8 x 8, context width 12) with 5 tokens each, value i at flat index i,
and the dataset `text` of strings that h5py makes of a list of captions. The other file has the latents in float64,
NumPy's default.
"""

import pathlib

import h5py
import numpy

FIXTURES = pathlib.Path(__file__).resolve().parent.parent / "DataSetsTests" / "Fixtures"


def counted(*shape):
    return numpy.arange(numpy.prod(shape), dtype=numpy.float32).reshape(shape)


with h5py.File(FIXTURES / "captioned-set.h5", "w") as file:
    file["latents"] = counted(2, 3, 8, 8)
    file["encoder_hidden_states"] = counted(2, 5, 12)
    file["empty_hidden_states"] = counted(1, 5, 12)
    file["text"] = ["a red circle", "two squares"]

with h5py.File(FIXTURES / "float64-set.h5", "w") as file:
    file["latents"] = counted(2, 3, 8, 8).astype("float64")
    file["encoder_hidden_states"] = counted(2, 5, 12)
    file["empty_hidden_states"] = counted(1, 5, 12)

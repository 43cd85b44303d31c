# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/CheckpointsTests/Fixtures/{latest,v110,lzf}.h5: files of newer formats, and with h5py's own filter.

Run by hand:  python Tests/Fixtures/make_hdf5_fixtures.py      (h5py, numpy)

HDF5 2.0 writes chunked data of its newest format in a way that older libraries do not read, so latest.h5 has none.
"""

from pathlib import Path

import h5py
import numpy as np

FOLDER = Path(__file__).resolve().parent.parent / "CheckpointsTests" / "Fixtures"

if __name__ == "__main__":
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    with h5py.File(FOLDER / "latest.h5", "w", libver="latest") as file:
        file["plain"] = values
    with h5py.File(FOLDER / "v110.h5", "w", libver=("v110", "v110")) as file:
        file["plain"] = values
        file.create_dataset("group/chunked", data=values, chunks=(1, 3, 4), compression="gzip")
        file.create_dataset("resizable", data=values, maxshape=(None, 3, 4), chunks=(1, 3, 4))
    with h5py.File(FOLDER / "lzf.h5", "w") as file:
        file["plain"] = values
        file.create_dataset("compressed", data=values, compression="lzf")

# SPDX-License-Identifier: Apache-2.0
"""Writes Tests/CheckpointsTests/Fixtures/{latest,lzf}.h5: files of h5py's newest format, and with h5py's own filter.

Run by hand:  python Tests/Fixtures/make_hdf5_fixtures.py      (h5py, numpy)
"""

from pathlib import Path

import h5py
import numpy as np

FOLDER = Path(__file__).resolve().parent.parent / "CheckpointsTests" / "Fixtures"

if __name__ == "__main__":
    values = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    with h5py.File(FOLDER / "latest.h5", "w", libver="latest") as file:
        file["plain"] = values
        file.create_dataset("group/chunked", data=values, chunks=(1, 3, 4), compression="gzip")
        file.create_dataset("resizable", data=values, maxshape=(None, 3, 4), chunks=(1, 3, 4))
    with h5py.File(FOLDER / "lzf.h5", "w") as file:
        file["plain"] = values
        file.create_dataset("compressed", data=values, compression="lzf")

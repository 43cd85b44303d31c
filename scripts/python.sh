#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the first Python that has h5py and NumPy, which some tests open our files with; fails where there is none.
# The distribution's own is asked by its path too, since another python3 may hide it.
set -u
for candidate in "${BITSFUSION_PYTHON:-}" python3 /usr/bin/python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import h5py, numpy' >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
done
exit 1

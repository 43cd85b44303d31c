#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints the first Python with h5py and NumPy, which some tests open files with; fails if there is none.
# Also tries the distribution's Python by its path, because another python3 may come first on the path.
set -u
for candidate in "${BITSFUSION_PYTHON:-}" python3 /usr/bin/python3; do
    [ -n "$candidate" ] || continue
    if "$candidate" -c 'import h5py, numpy' >/dev/null 2>&1; then
        command -v "$candidate"
        exit 0
    fi
done
exit 1

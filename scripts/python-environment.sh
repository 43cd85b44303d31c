#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Makes .venv, the Python environment of the benchmarks and of the tests' reference values, from requirements.txt.
# PyTorch comes from its own index, whose build for processors is small; where that cannot be reached, from PyPI.
set -eu
requirements=$(dirname "$0")/requirements.txt
torch=$(grep '^torch==' "$requirements")
python3 -m venv .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }
if ! pip install --quiet --retries 0 --index-url https://download.pytorch.org/whl/cpu "$torch"; then
    echo "$torch: PyTorch's own index cannot be reached; installing the larger build from PyPI instead" >&2
    pip install --quiet "$torch"
fi
pip install --quiet --requirement "$requirements"

# SPDX-License-Identifier: Apache-2.0
"""Tests of the package; see Sources/Python/README.md."""

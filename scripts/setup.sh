#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Checks the Swift toolchain and installs missing packages. Changes nothing if none is missing.
#
#     scripts/setup.sh            packages for building
#     scripts/setup.sh --tests    also packages for the tests
#     scripts/setup.sh --mpi      also OpenMPI, unless there is an MPI
set -euo pipefail
cd "$(dirname "$0")/.."

readonly swift_major=6 swift_minor=2

complain() { printf 'setup: %s\n' "$*" >&2; }
die() { complain "$@"; exit 1; }

check_swift() {
    local hint="install Swift $swift_major.$swift_minor or later from https://www.swift.org/install/"
    command -v swift >/dev/null || die "swift is not on the path; $hint"
    local found major minor
    found=$(swift --version 2>/dev/null | sed -n 's/.*Swift version \([0-9]*\.[0-9]*\).*/\1/p' | head -n 1)
    IFS=. read -r major minor <<<"${found:-0.0}"
    if ((major < swift_major || (major == swift_major && minor < swift_minor))); then
        die "found Swift ${found:-of an unknown version}; $hint"
    fi
}

# Prints the packages of the libraries that pkg-config does not find.
missing_libraries() {
    command -v pkg-config >/dev/null || echo pkg-config
    local hdf5=hdf5
    if [ "$(uname)" = Linux ]; then hdf5=hdf5-serial; fi
    local pair
    for pair in openblas:libopenblas-dev "${BITSFUSION_HDF5_PC:-$hdf5}:libhdf5-dev" libpng:libpng-dev \
        libjpeg:libjpeg-dev libwebpdemux:libwebp-dev libcrypto:libssl-dev zlib:zlib1g-dev \
        libarchive:libarchive-dev; do
        pkg-config --exists "${pair%%:*}" 2>/dev/null || echo "${pair##*:}"
    done
}

# Installs Debian packages; updates the package lists only if the first attempt fails.
install_packages() {
    command -v apt-get >/dev/null || die "missing: $*; install these packages with your package manager"
    local as_root=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || die "missing: $*; run as root: apt-get install $*"
        as_root=(sudo)
    fi
    local install=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends)
    complain "installing $*"
    "${install[@]}" "$@" </dev/null && return
    complain "updating the package lists, then trying again"
    "${as_root[@]}" apt-get update </dev/null && "${install[@]}" "$@" </dev/null
}

check_swift
read -r -a missing <<<"$(missing_libraries | tr '\n' ' ')"
if ((${#missing[@]})); then
    install_packages "${missing[@]}" || die "could not install ${missing[*]}"
fi
if [ "${1:-}" = --mpi ] && ! command -v "${MPICC:-mpicc}" >/dev/null; then
    install_packages openmpi-bin libopenmpi-dev || die "could not install OpenMPI"
fi
if [ "${1:-}" = --tests ] && ! scripts/python.sh >/dev/null; then
    # Without these packages a few tests are skipped; the others still run.
    (install_packages python3 python3-h5py python3-numpy) && scripts/python.sh >/dev/null ||
        complain "no Python with h5py and NumPy: tests that read files with these modules are skipped"
fi

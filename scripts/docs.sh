#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes the documentation of the library as HTML to .build/docs, with swift-docc-plugin.
#
# The package depends on the plugin only if BITSFUSION_DOCS is set, so that other builds do not download it. The
# resolved versions of other builds are restored afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."

resolved=$(mktemp)
cp Package.resolved "$resolved"
trap 'cp "$resolved" Package.resolved; rm -f "$resolved"' EXIT

# `BitsFusion` re-exports the other modules and has no symbols of its own; each module gets its own pages.
targets=()
for folder in Sources/{App/BitsFusion,App/ShapesWorld,Method/*,Models/*,Compression/*,Engine/*}; do
    if [ -n "$(find "$folder" -name '*.swift' -print -quit)" ]; then targets+=(--target "${folder##*/}"); fi
done
BITSFUSION_DOCS=1 swift package --allow-writing-to-directory .build/docs \
    generate-documentation "${targets[@]}" --enable-experimental-combined-documentation --output-path .build/docs \
    --transform-for-static-hosting --hosting-base-path bitsfusion
echo "wrote .build/docs; start with documentation/bitsfusion"

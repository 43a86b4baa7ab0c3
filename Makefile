# The front door; Meson does the work. Each target keeps its own build directory.
.DEFAULT_GOAL := all
MAKEFLAGS += --no-print-directory
BENCH_ARGS ?=
STRESS_SECONDS ?= 60
FUZZ_SECONDS ?= 600
FUZZER ?= libfuzzer

all: build/build.ninja ## build everything, release, into build/
	@ninja -C build

check: ## every check: lint, tests plain and under sanitizers, short fuzz runs
	@./check
asan: ## all tests under AddressSanitizer and UBSan
	@./check asan
tsan: ## the concurrent tests under ThreadSanitizer
	@./check tsan
fuzz: ## every parser against FUZZER (libfuzzer, or afl), FUZZ_SECONDS (600) in all
	@tools/fuzz --engine $(FUZZER) --seconds $(FUZZ_SECONDS)
valgrind: ## the unit tests under valgrind
	@./check valgrind
stress: all ## a store and a server under kills, and the random tests with new seeds, for STRESS_SECONDS (60)
	@tools/stress $(STRESS_SECONDS)
mutants: ## break the code in every place of test/mutants/, one at a time, and see the tests notice
	@tools/setup check
	@tools/mutants
coverage: ## which lines and branches the plain tests run, per room; report in build-coverage/report/
	@tools/setup coverage
	@tools/coverage
bench: ## measure quern beside RocksDB, LevelDB, LMDB and WiredTiger in an hour, tables and plots (BENCH_ARGS="--sets small"; bench/run --help)
	@bench/run $(BENCH_ARGS)
bench-quick: ## the same, smaller, in five minutes
	@bench/run --quick $(BENCH_ARGS)
bench-server: ## measure quernd beside nginx, webdis, etcd, Redis and the disk, in ten minutes (bench/server --help)
	@bench/run server $(BENCH_ARGS)
lint: build/build.ninja ## the floors of the house, then clang-tidy
	@tools/setup check
	@tools/lint-floors
	@tools/tidy build
format: ## rewrite all C files with clang-format
	@find bench include src test -name '*.[ch]' -exec clang-format -i '{}' +
hooks: ## look at floors and format before each commit
	@printf '#!/bin/sh\nexec ./check lint\n' > .git/hooks/pre-commit
	@chmod +x .git/hooks/pre-commit
install: all ## install libquern, quern and quernd (DESTDIR is heeded)
	@meson install -C build --no-rebuild
	@[ -n "$(DESTDIR)" ] || [ "$$(id -u)" -ne 0 ] || /sbin/ldconfig
clean: ## remove all build directories
	@rm -rf build build-asan build-tsan build-fuzz build-afl build-bench build-lint \
	  build-mutants build-coverage
help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1	\2/p' Makefile | expand -t 20

build/build.ninja:
	@tools/setup build
	@meson setup build

.PHONY: all check asan tsan fuzz valgrind stress mutants coverage bench bench-quick bench-server lint format hooks install clean help

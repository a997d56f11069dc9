# Every target calls a command under ci/. Each command prints its description with -h. `make help` prints the text after
# the ## of each target, with the minutes that its first run takes on two processors.
# PG_CONFIG=/path/to/pg_config chooses the server; the default is that of this release of Debian or Ubuntu.

ifdef PG_CONFIG
export PG_CONFIG
endif

# They share target/.
.NOTPARALLEL:
.PHONY: $(shell sed -nE 's/^([a-z0-9 -]+):.*/\1/p' $(firstword $(MAKEFILE_LIST)))

help: ## this list
	@sed -nE 's/^([a-z0-9 -]+):[^#]*## (.*)/make \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r target does; do printf '%-20s %s\n' "$$target" "$$does"; done

demo: setup ## shows it at work on a throw-away server that stays up (3 min)
	@ci/docs demo

demo-stop: ## stops that server
	@ci/server stop demo

demo-shards: setup ## jobs that use two more servers, and what that costs (2 min)
	@ci/docs demo-shards

book: ## the documentation as a book, in target/book (3 min)
	@ci/docs book

test: ## all tests: engine, models, then regression and multi-session tests on a throw-away server (30 min)
	@ci/test

test-matrix: ## the server tests on PostgreSQL 18 and 19, in chroots; needs root and 4 GB a version (40 min)
	@ci/server-tests matrix

test-from-c: ## what comes from version 2.0 of the C extension, with Debian's package of it; needs root (10 min)
	@ci/server-tests from-2.0

all: setup ## the release build alone; what clients of PGXN call first (2 min)
	@ci/install build

uninstall: ## removes what make install has installed
	@ci/install remove

install: ## release build into the server of PG_CONFIG (2 min)
	@! command -v cargo >/dev/null || ci/setup
	@ci/install

bench: setup ## all measurements, beside dblink; writes docs/benchmarks (6 min)
	@ci/bench

bench-engine: ## measures the engine's steps one by one, without a server (4 min)
	@ci/bench engine

bench-compare: setup ## measures beside another version of the extension: URL=... SCHEMA=... [LIBRARY=...] (3 min)
	@ci/bench compare '$(URL)' '$(SCHEMA)' $(LIBRARY)

models loom: ## the models of the engine: every interleaving, under loom (8 min)
	@ci/engine models

liveness: ## what must happen at some time does, with Spin; installs it (2 min)
	@ci/engine liveness

mutants: ## shows that models and schedules catch defects, put into the engine one at a time (7 min)
	@ci/engine mutants models
	@ci/engine mutants schedules

mutants-generated: ## shows that the engine's unit tests catch defects: cargo-mutants over what has changed (4 min)
	@ci/engine mutants generated

schedules: ## the whole table and pool under random schedules, with shuttle (2 min)
	@ci/engine schedules

fuzz: ## the engine's parsers and queues on input made to break them: SECONDS=... (3 min)
	@ci/engine fuzz $(SECONDS)

miri: ## the engine's tests under Miri; needs a nightly toolchain, which rustup installs (8 min)
	@ci/engine miri

memcheck: ## the engine's tests under valgrind, which sees less and needs no other toolchain (1 min)
	@ci/engine memcheck

chaos: setup ## many sessions do everything at random, then a crash: SECONDS=... SEED=... (1 min)
	@ci/server-tests chaos $(SECONDS) $(SEED)

worst: setup ## one of four roles does its worst: SECONDS=... (12 min)
	@ci/server-tests worst $(SECONDS)

faults: setup ## every fault at every fault point, in a copy of the server (4 min)
	@ci/server-tests faults

eager-plans: ## the server tests with each plan saved at once, in a copy of the server (20 min)
	@ci/server-tests eager-plans

debug5: ## the server tests with every message printed, in sessions and jobs (15 min)
	@ci/server-tests debug5

assertions: ## the server tests on a PostgreSQL that checks itself, built for it (12 min)
	@ci/server-tests assertions

valgrind: ## some of the regression tests there under valgrind (10 min)
	@ci/server-tests valgrind

sanitizers: ## the server tests with the sanitizers for addresses and undefined behavior (20 min)
	@ci/server-tests sanitizers

lint: setup ## format, clippy, rustdoc, house rules (5 min)
	@ci/lint

crates: ## licenses and origin of the crates (1 min)
	@ci/lint crates

package: ## checks exports, META.json, the archive for PGXN; in clean chroots a Debian package, another directory (6 min)
	@ci/package check

packages: ## Debian packages for 14 and 16 to 19, and their check in chroots; needs root and 4 GB a version (25 min)
	@ci/package versions

deb: setup ## a Debian package for the server of PG_CONFIG, in target/deb (2 min)
	@ci/package deb

rpm: setup ## an RPM package for the server of PG_CONFIG, in target/rpm, and its check in a chroot (4 min)
	@ci/package rpm

dist: ## an archive of the last commit for PGXN (1 min)
	@ci/package dist

image: ## builds the image of the Dockerfile and uses it in a container; needs docker (5 min)
	@ci/package image

cargo-pgrx: setup ## checks that cargo pgrx gives the same as make install; installs into the server of PG_CONFIG (8 min)
	@ci/package cargo-pgrx

setup: ## installs what is missing on this machine (the other targets call it)
	@ci/setup

# Every target is a script under ci/ that can be run by itself.
# PG_CONFIG=/path/to/pg_config chooses the server; the default is Debian's PostgreSQL 15.

ifdef PG_CONFIG
export PG_CONFIG
endif

.PHONY: help demo demo-stop demo-shards book test test-matrix install bench bench-engine bench-compare \
	loom loom-mutants shuttle miri memcheck chaos worst faults debug5 lint setup assertions valgrind sanitizers package deb dist

help:
	@echo 'make demo          see it at work on a throw-away server that stays up; make demo-stop'
	@echo 'make demo-shards   jobs that use two more servers, and what that costs'
	@echo 'make book          the documentation as a book, in target/book'
	@echo 'make test          everything: engine, models, regression and multi-session tests'
	@echo 'make test-matrix   the server tests on PostgreSQL 17 and 18, in chroots'
	@echo 'make install       release build into the server of PG_CONFIG (default: PostgreSQL 15)'
	@echo 'make bench         all benchmarks beside dblink; writes docs/benchmarks; about 6 minutes'
	@echo 'make bench-engine  benchmarks of the engine alone, no server'
	@echo 'make bench-compare another version beside: URL=... SCHEMA=... [LIBRARY=...]; see ci/bench'
	@echo 'make loom          the models of the engine'
	@echo 'make loom-mutants  defects put into the engine, one at a time: the models catch them'
	@echo 'make shuttle       the whole table and pool under random schedules'
	@echo 'make miri          the tests of the engine under Miri (needs a nightly toolchain)'
	@echo 'make memcheck      the same under valgrind'
	@echo 'make chaos         many sessions doing everything at random; SECONDS=... SEED=...'
	@echo 'make worst         one of four roles does its worst; SECONDS=...'
	@echo 'make faults        every fault at every fault point, in a copy of the server'
	@echo 'make debug5        the server tests with every message printed'
	@echo 'make assertions    the server tests on a PostgreSQL that checks itself, built for it'
	@echo 'make valgrind      some of them under valgrind'
	@echo 'make sanitizers    all of them with the sanitizers for addresses and undefined behaviour'
	@echo 'make deb           a Debian package for the server of PG_CONFIG; make package tests one'
	@echo 'make dist          an archive of the last commit, as PGXN wants it'
	@echo 'make lint          format, clippy, rustdoc, house rules'
	@echo 'make setup         install what is missing on this machine (the others do it themselves)'

demo: setup
	@ci/demo

demo-stop:
	@ci/server stop demo

demo-shards: setup
	@ci/demo-shards

book:
	@ci/book

test:
	@ci/test

test-matrix:
	@ci/matrix

install: setup
	@ci/install

bench: setup
	@ci/bench

bench-engine:
	@ci/bench engine

bench-compare: setup
	@ci/bench compare '$(URL)' '$(SCHEMA)' $(LIBRARY)

loom:
	@ci/loom

loom-mutants:
	@ci/loom-mutants

shuttle:
	@ci/shuttle
	@ci/shuttle mutants

miri:
	@ci/miri

memcheck:
	@ci/memcheck

chaos: setup
	@ci/chaos $(SECONDS) $(SEED)

worst: setup
	@ci/worst $(SECONDS)

faults: setup
	@ci/faults

debug5:
	@ci/debug5

assertions:
	@ci/assertions

valgrind:
	@ci/assertions valgrind

sanitizers:
	@ci/assertions sanitizers

package:
	@ci/package

deb: setup
	@ci/deb

dist:
	@ci/dist

lint: setup
	@ci/lint

setup:
	@ci/setup

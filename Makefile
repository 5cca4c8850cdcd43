# Saola: everything a developer types.
#
#   make run     install what is missing, build, serve the demo on http://127.0.0.1:8000 until Ctrl-C
#   make test    the same set-up, then every test
#   make test-pythons   the process-level tests under every other CPython found (PATH, pyenv)
#   make venv    only the virtual environment .venv with saola in it
#   make bench   CPU time per request against a raw epoll loop and other servers, time per request head against llhttp
#   make bench-static   static files beside nginx
#   make slow    5,000 slow clients beside 50 normal ones: what those feel of it, and what memory it takes
#   make check   include table, generated files, formatting, compiler warnings
#   make long    the process-level tests that take minutes or assert times; wants a quiet machine
#   make faults  the tests that inject faults; prints the verdict of each row of docs/faults.md
#   make asan    the process-level tests with the C parts under ASan and UBSan
#   make ledger  a million requests of four kinds over reloads, upgrades and changes of the number of workers
#   make ledger-peers   the same clients and signals on saola, nginx, haproxy and gunicorn
#   make fuzz    fuzz each parser for FUZZ_SECONDS (60)
#   make simulate  10 million random lives of the arbiter's state machine (SEQUENCES)
#   make differential  our parser against llhttp and h11 on 100,000 mutated requests
#   make clean   remove .venv and build/
#
# Options: ADDRESS=127.0.0.1:8000 (run), TESTS="tests/e2e/test_demo.py -k name" (test, test-pythons, long, faults, asan),
# BENCH="arguments" (bench), LEDGER="--requests 1000000 --hup 100 --usr2 10 --ttin 50" (ledger),
# DIFFERENTIAL="--seed 7", JOBS=2.
# What is installed and how is in tools/setup.sh; what a test run consists of in tools/test.sh.

ADDRESS ?= 127.0.0.1:8000
FUZZ_SECONDS ?= 60
SEQUENCES ?= 10000000
TESTS ?=
DIFFERENTIAL ?=
BENCH ?=
LEDGER ?= --requests 1000000 --hup 100 --usr2 10 --ttin 50
export JOBS

run: venv
	@exec .venv/bin/python examples/counter/counter.py $(ADDRESS)

test:
	@tools/setup.sh test
	@tools/test.sh all $(TESTS)

test-pythons:
	@tools/setup.sh venv
	@tools/test.sh pythons $(TESTS)

venv:
	@tools/setup.sh venv

bench:
	@tools/setup.sh bench
	@tools/fetch_peers.sh || true
	@.venv/bin/python bench/run.py $(BENCH)
	@tools/test.sh parser

bench-static:
	@tools/setup.sh bench
	@tools/fetch_peers.sh
	@.venv/bin/python bench/static.py $(BENCH)

slow:
	@tools/setup.sh bench
	@.venv/bin/python bench/slow.py $(SLOW)

check:
	@tools/setup.sh check
	@tools/test.sh check

long:
	@tools/setup.sh test
	@tools/test.sh long $(TESTS)

faults:
	@tools/setup.sh test
	@tools/test.sh faults $(TESTS)

asan:
	@tools/setup.sh test
	@tools/test.sh asan $(TESTS)

ledger: venv
	@.venv/bin/python tests/ledger/run.py $(LEDGER)

ledger-peers: venv
	@tools/fetch_peers.sh
	@.venv/bin/python tests/ledger/run.py --each --requests 20000 --hup 20 --usr2 5 --broken 1 --ttin 0 --json build/ledger/peers.json \
	    --servers saola-sync,saola-gthread,nginx,haproxy,gunicorn-sync,gunicorn-gthread || true

fuzz:
	@tools/setup.sh fuzz
	@tools/test.sh fuzz $(FUZZ_SECONDS)

simulate:
	@tools/setup.sh test
	@tools/test.sh simulate $(SEQUENCES)

differential:
	@tools/setup.sh test
	@tools/test.sh differential $(DIFFERENTIAL)

help:
	@sed -n 's/^#   //p' Makefile

clean:
	rm -rf .venv build

.PHONY: run test test-pythons venv bench bench-static slow ledger ledger-peers check long faults asan fuzz simulate differential help clean

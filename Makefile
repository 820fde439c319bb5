# `make` lists the targets. Python packages go into .venv and nowhere else.
# PYTHON names the interpreter to build it with: make setup PYTHON=python3.12
# FROM_SOURCE names packages without a wheel for this machine, to build from their locked sources; see docs/platforms.md.

PYTHON ?= python3
FROM_SOURCE ?=
VENV := .venv
BIN := $(VENV)/bin
LOCKED := $(VENV)/locked.stamp
STAMP := $(VENV)/setup.stamp
CODE := schemas streams tables agents tests ops docs
PROMTOOL := $(BIN)/promtool
PROMETHEUS := $(BIN)/prometheus
CHROMIUM := $(VENV)/chromium.stamp
KERNELS := $(VENV)/kernels.stamp
REWRITTEN := $(VENV)/rewritten.stamp

.DEFAULT_GOAL := help
.PHONY: help setup check lock-check audit sbom release test test-pythons test-trainers test-faults mutation demo docs bench bench-agents bench-report lock clean

help: ## List the targets
	@echo "make TARGET, where TARGET is one of"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1	\2/p' Makefile

setup: $(STAMP) ## Create .venv with everything the lock file names

# At a terminal pip shows its downloads: on a slow network it would look hung. It compiles on one core, and passes over
# the files of packages that are no Python, as here.
$(LOCKED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "setup: $(PYTHON) is missing or older than 3.11. Install Python 3.11 or newer," \
	    "or name one: make setup PYTHON=/path/to/python3" >&2; exit 4; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "setup: $(PYTHON) has no venv module. Install it (Debian, Ubuntu:" \
	    "apt-get install python3-venv), then run make setup again" >&2; exit 4; }
	@echo "setup: creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv --clear $(VENV)
	@echo "setup: installing the locked packages, hashes checked (about 710 MB)"
	@$(BIN)/python -m pip install $$([ -t 1 ] || echo --quiet) --disable-pip-version-check \
	  --only-binary :all: $(addprefix --no-binary ,$(FROM_SOURCE)) --require-hashes --no-compile -r requirements.lock
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@

$(STAMP): $(LOCKED) pyproject.toml
	@echo "setup: linking this folder into $(VENV)"
	@PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pip install --quiet \
	  --disable-pip-version-check --no-index --no-deps --no-build-isolation --editable .
	@touch $@
	@echo "setup: done; the command is $(BIN)/dia"

# Prometheus and its judge of rules are in no Python package, and a machine without apt must be able to
# run all else: then their tests are skipped, and pytest's summary says so.
$(PROMTOOL): $(LOCKED)
	@ops/prometheus/fetch.sh $(BIN) promtool || \
	  echo "setup: promtool could not be fetched with apt; rules are parsed, not run" >&2

$(PROMETHEUS): $(LOCKED)
	@ops/prometheus/fetch.sh $(BIN) prometheus || \
	  echo "setup: prometheus could not be fetched with apt; none writes to an edge" >&2

# The browser is in no Python package either. Without it the console's pages are not tested, which CI does
# not accept.
$(CHROMIUM): $(LOCKED) | $(PROMTOOL) # apt works for one at a time
	@if tests/browser/install_chromium.sh; then touch $@; else \
	  echo "setup: NO BROWSER: chromium could not be installed with apt;" \
	    "the console's pages will not be tested" >&2; fi

# What `make -j2 check` runs side by side: mypy and pyright take most of its time.
CHECKS := check-style check-mypy check-pyright check-layers
.PHONY: $(CHECKS) compiled

check: $(CHECKS) $(PROMTOOL) ## Lint, format, types, layers, ops files: what CI checks before the tests
ifndef CI # where every test follows
	$(BIN)/python -m pytest -q tests/unit/ops
endif

check-style: $(STAMP)
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)

check-mypy: $(STAMP)
	$(BIN)/mypy

check-pyright: $(STAMP)
	PYRIGHT_PYTHON_IGNORE_WARNINGS=1 $(BIN)/pyright --pythonpath $(BIN)/python

check-layers: $(STAMP)
	$(BIN)/lint-imports

# The processes of pytest begin at the same time, so that none finds what another is about to compile:
# each would compile the kernels (20 s of CPU) and rewrite all tests (25 s).
$(KERNELS): $(STAMP) $(wildcard streams/core/kernels/*.py)
	@$(BIN)/python -c 'from streams.core import kernels; print(kernels.prepare() or "kernels: compiled")'
	@touch $@

# Where Python may not write bytecode, hundreds of processes would each compile what they import.
$(REWRITTEN): $(STAMP)
	@$(BIN)/python -m compileall -q schemas streams tables agents
	@DIA_KERNELS=off PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -p no:cacheprovider --collect-only -qq >/dev/null && touch $@ || \
	  echo "compiled: the tests cannot be collected; make test says why" >&2

compiled: $(KERNELS) $(REWRITTEN)
	@:

test: $(STAMP) $(PROMTOOL) $(CHROMIUM) ## Every test, the ones on the real local stack too
	@$(MAKE) --no-print-directory -j2 compiled
	@$(BIN)/python -m compileall -q schemas streams tables agents
	PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest --numprocesses 4 --dist loadfile --no-loadscope-reorder

# Interpreters of `make test-pythons`; each gets an environment of its own below build/.
PYTHONS ?= python3.12 python3.13 python3.14

test-pythons: ## Tests without services on PYTHONS="python3.12 python3.13", where installed
	@for python in $(PYTHONS); do \
	  $$python -c pass 2>/dev/null || { echo "$$python is not installed: skipped" >&2; continue; }; \
	  $(MAKE) --no-print-directory setup PYTHON=$$python VENV=build/$$python && \
	  build/$$python/bin/python -m pytest -q -m "not stack and not browser and not faults and not index and not long" \
	    tests/unit tests/properties tests/contract || exit 1; \
	done

test-trainers: $(STAMP) ## MLflow, Keras, XGBoost, LightGBM and transformers log to dia; their packages go below build/
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade \
	  --target build/trainers -r tests/trainers.txt
	PYTHONPATH=build/trainers KERAS_BACKEND=jax $(BIN)/python -m pytest -q -rs tests/unit/http/edge/training/test_real_trainers.py

# Seeds that `make test` does not run; a failing one is printed with the command that replays it.
SEEDS ?= 10000
FIRST_SEED ?= 1000000
RUNS ?= 1

test-faults: $(STAMP) $(PROMETHEUS) ## Laws in full, SEEDS=N more histories, then faults on real processes
	TEST_SEEDS=100 TEST_DEPTH=whole $(BIN)/python -m pytest tests/simulation tests/properties tests/unit \
	  tests/browser/test_states.py tests/integration/clickhouse/test_console.py
	$(BIN)/python -m pytest -m long tests/contract tests/integration tests/unit/http/edge/metrics
	$(BIN)/python -m streams.dev.simulation --first $(FIRST_SEED) --seeds $(SEEDS)
	for story in growth jobs rebuilt stream; do \
	  $(BIN)/python -m streams.dev.simulation --story $$story --first $(FIRST_SEED) --seeds $$(($(SEEDS) / 5)) || exit 1; \
	done
	$(BIN)/python -m pytest -m faults tests/faults --fault-runs $(RUNS) --fault-report tests/faults/REPORT.md

# Files or folders, e.g. MODULES="streams/core/resilience streams/connect/cache"; empty: what changed since its score.
MODULES ?=
AT_MOST ?= 60

mutation: $(STAMP) ## Which small changes of MODULES does no test notice? tests/mutation/REPORT.md
	$(BIN)/python -m tests.mutation --at-most $(AT_MOST) $(MODULES)

docs: $(STAMP) ## The documentation as a site: build/docs/docs/index.html
	$(BIN)/python docs/reference.py
	$(BIN)/python -m sphinx --fail-on-warning --quiet -c docs -b html . build/docs
	@echo 'build/docs/docs/index.html'

demo: $(STAMP) ## Half a million events through a real stack, reconciled one by one; SERVE=1 stays up
	$(BIN)/dia demo $(if $(SERVE),--serve)

bench: $(STAMP) ## Throughput, CPU cost and restore rate on this machine
	$(BIN)/dia bench run

bench-agents: $(STAMP) ## Agents of one event at a time, on dia and on Faust: only the import differs
	$(BIN)/dia bench agents

bench-report: $(STAMP) ## Everything measured, peers too: tests/bench/REPORT.md and README.md
	$(BIN)/dia bench report

# The lock names packages and hashes, no index: it installs from whichever index pip is set up for.
lock: $(STAMP) ## Resolve requirements.lock again from pyproject.toml
	$(BIN)/uv pip compile pyproject.toml --all-extras --group dev --universal \
	  --python-version 3.11 --generate-hashes --upgrade --quiet \
	  --custom-compile-command "make lock" --output-file requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra edge --extra console --extra otel \
	  --extra avro --extra protobuf --extra json-schema --extra compiled \
	  --constraints requirements.lock --universal \
	  --python-version 3.11 --generate-hashes --quiet \
	  --custom-compile-command "make lock" --output-file docker/requirements.lock
	echo "uv_build" | $(BIN)/uv pip compile - --constraints requirements.lock --universal \
	  --python-version 3.11 --generate-hashes --quiet \
	  --custom-compile-command "make lock" --output-file docker/build.lock

lock-check: $(STAMP) ## Do the locks install from wheels on every Python? Asks the package index
	DIA_KERNELS=off $(BIN)/python -m pytest -q -m index tests/index

SERVICE ?= pypi

audit: $(STAMP) ## Known vulnerabilities of the locked packages; SERVICE=osv asks OSV. Needs the network
	$(BIN)/python ops/supply_chain/audit.py --service $(SERVICE)

sbom: $(STAMP) ## What the image and .venv are made of, as CycloneDX: build/sbom. Needs no network
	$(BIN)/python ops/supply_chain/sbom.py

release: $(STAMP) ## The wheel built twice alike, bills of materials, provenance and sums: dist. Needs no network
	$(BIN)/python ops/supply_chain/release.py

clean: ## Remove .venv, caches and build output; never a stack or its data
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

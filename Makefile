# For people who work on the code; `make help` lists the targets. Needs Python 3.11 or later, and make.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first Python that is new enough: `python3` where it is, else a versioned name beside it.
PYTHON ?= $(shell for name in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$name && break; done)
VENV := .venv
BIN := $(VENV)/bin
# Copying works where cache and checkout are on different file systems; nothing to warn about then.
export UV_LINK_MODE ?= copy
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv
PYTEST := $(BIN)/python -m pytest
# Those that are verified, and so have a lock.
CONNECTORS ?= $(basename $(notdir $(wildcard tasks/connectors/locks/*.lock)))

DECODER := $(wildcard decoder/Cargo.toml decoder/Cargo.lock decoder/pyproject.toml) \
	$(shell find decoder/src -type f 2>/dev/null)

.NOTPARALLEL:

.PHONY: help setup setup-demo native native-wheel wheels demo dashboard test test-unit test-integration test-faults test-kubernetes \
	test-browser test-readme test-superset benchmark \
	simulate simulate-anomalies simulate-drift simulate-increments lint docs site reference lock clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.stamp-dev native ## Everything to work on the code: .venv from the hashed locks, the native decoder

setup-demo: $(VENV)/.stamp-demo native

$(VENV)/.stamp-venv: requirements/bootstrap.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "Python 3.11 or later is needed; none of python3, python3.11 to python3.14 on the PATH is." \
			"Install one, or run: make PYTHON=/path/to/python $(MAKECMDGOALS)" >&2; exit 1; fi
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments (its modules venv and ensurepip are missing)." \
			"On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "setup: creating $(VENV) with $$($(PYTHON) --version)"
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/bootstrap.lock
	@touch $@

# The demo's lock is a part of the developers', cut from the same resolution: whoever has the latter has both.
$(VENV)/.stamp-demo: $(VENV)/.stamp-venv requirements/demo.lock requirements/build.lock pyproject.toml
	@echo "setup: installing requirements/demo.lock"
	@$(UV) pip install --quiet --require-hashes -r requirements/demo.lock -r requirements/build.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.stamp-dev: $(VENV)/.stamp-venv requirements/dev.lock requirements/build.lock pyproject.toml
	@echo "setup: installing requirements/dev.lock"
	@$(UV) pip install --quiet --require-hashes -r requirements/dev.lock -r requirements/build.lock
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.stamp-demo

# Where wheels of the decoder are, a folder or a URL that lists them, and their hash list.
WHEELS ?=
WHEELS_LOCK ?= $(WHEELS)/native.lock
DRIVER := the driver decodes, 27 thousand documents a second, a twentieth of the native rate; results are the same

native: $(VENV)/.stamp-demo ## The native decoder: from WHEELS (a folder, a URL), else built with Rust, else from dist/
	@if [ -n "$(WHEELS)" ]; then $(MAKE) --silent --no-print-directory native-wheel; \
	elif command -v cargo >/dev/null; then $(MAKE) --silent --no-print-directory $(VENV)/.stamp-native; \
	elif [ -f dist/native.lock ]; then $(MAKE) --silent --no-print-directory native-wheel WHEELS=dist; \
	else echo "setup: no Rust toolchain (cargo) and no wheel (make native WHEELS=...): $(DRIVER)"; fi \
	|| echo "setup: the native decoder was not installed (see above): $(DRIVER)" >&2

native-wheel:
	@$(UV) pip install --quiet --no-deps --no-index --reinstall --find-links "$(WHEELS)" --require-hashes -r "$(WHEELS_LOCK)"
	@echo "setup: installed the native decoder from $(WHEELS)"

wheels: $(VENV)/.stamp-demo ## The decoder's wheel for this platform into dist/, with its hash list (docs/release.md)
	@cd decoder && ../$(BIN)/maturin build --quiet --release --locked --out ../dist --interpreter ../$(BIN)/python
	@$(BIN)/python decoder/lock_wheels.py dist

$(VENV)/.stamp-native: $(DECODER) | $(VENV)/.stamp-demo
	@echo "setup: building the native decoder (about a minute the first time)"
	@cd decoder && ../$(BIN)/maturin build --quiet --release --locked --out target/wheels \
		--interpreter ../$(BIN)/python
	@$(UV) pip install --quiet --no-deps --reinstall "$$(ls -t decoder/target/wheels/*.whl | head -n 1)"
	@touch $@

demo: setup-demo ## The whole job on sample data, with embedded servers
	@$(BIN)/warehouse demo

dashboard: $(VENV)/.stamp-dashboard native ## The live dashboard of the warehouse, at http://127.0.0.1:8501
	@$(BIN)/warehouse dashboard

$(VENV)/.stamp-dashboard: $(VENV)/.stamp-demo requirements/dashboard.lock
	@echo "setup: installing requirements/dashboard.lock"
	@$(UV) pip install --quiet --require-hashes -r requirements/dashboard.lock
	@touch $@

# What takes long, or needs more than this machine has by itself.
NO_OTHER_TIER := $(foreach tier,faults kubernetes browser readme superset connectors,and not $(tier))

# Two processes, each with servers of its own.
test: setup ## Unit and integration tests but the slow ones: minutes
	$(PYTEST) -n 2 -m "not slow $(NO_OTHER_TIER)"

test-unit: setup ## Unit tests alone: seconds, no servers
	$(PYTEST) -m "not integration $(NO_OTHER_TIER)"

test-integration: setup ## Tests on real embedded servers
	$(PYTEST) -m integration

test-faults: setup ## Kills and broken connections
	$(PYTEST) -m faults

test-readme: setup ## The README's shell blocks, literally, each from an empty folder
	$(PYTEST) -m readme

test-browser: setup ## Pages in a real Chromium, at three widths, light and dark
	$(PYTEST) -m browser

test-superset: setup ## The bundle in a real Superset, installed into an environment of its own
	$(PYTEST) -m superset

test-connectors: setup ## Other people's connectors, installed from PyPI (CONNECTORS="faker sendgrid" for some)
	@for name in $(CONNECTORS); do WAREHOUSE_CONNECTORS=dist/connectors $(BIN)/warehouse connectors install $$name || exit 1; done
	$(PYTEST) -m connectors

test-kubernetes: setup ## Tests on the cluster of KUBECONFIG
	$(PYTEST) -m kubernetes

benchmark: setup ## Every figure as a ratio, in one run (BENCHMARK="--rows 2000000" for the large one)
	$(BIN)/python -m tests.benchmarks $(BENCHMARK)

simulate: setup ## Sixty days of a wild application, killed at random, for SEEDS (default "1"): half an hour each
	WAREHOUSE_SIMULATION_DAYS=60 WAREHOUSE_SIMULATION_SEEDS="$(or $(SEEDS),1)" $(PYTEST) -rP tests/integration/simulation

simulate-anomalies: setup ## How many injected incidents the anomaly rules find, and how often they cry wolf
	$(BIN)/python -m tests.simulations.anomalies $(SIMULATION)

simulate-drift: setup ## How many changes of fields the ledger tells, and how often it tells of none (SIMULATION="--seeds 50")
	$(BIN)/python -m tests.simulations.drift $(SIMULATION)

simulate-increments: setup ## Random changes and builds against one build from nothing, for SEEDS seeds (default 10)
	WAREHOUSE_INCREMENT_SEEDS=$(or $(SEEDS),10) $(PYTEST) tests/integration/dbt/test_increments.py

docs: setup-demo ## The documentation of silver and gold as one HTML file
	@$(BIN)/python -m infra.model_docs

SITE := .warehouse/site

$(SITE)/.stamp: requirements/site.lock | $(VENV)/.stamp-venv
	@echo "site: installing requirements/site.lock"
	@$(PYTHON) -m venv $(SITE)
	@VIRTUAL_ENV=$(CURDIR)/$(SITE) $(BIN)/uv pip install --quiet --require-hashes -r requirements/site.lock
	@touch $@

# Its plugin's advertisement for a successor says nothing about our pages.
site: $(SITE)/.stamp ## The documentation as a folder of pages, dist/site, which needs no network
	@DISABLE_MKDOCS_2_WARNING=true $(SITE)/bin/mkdocs build --quiet --strict
	@echo "written: dist/site/index.html"

reference: setup-demo ## Write docs/reference/ again, from the code
	$(BIN)/python -m flows.reference

lint: setup ## Style, types, and the decoder's own lints where cargo is
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@if command -v cargo >/dev/null; then cd decoder && cargo fmt --check && cargo clippy --locked -- -D warnings; fi

lock: setup ## Resolve the dependencies again and write requirements/*.lock
	@PATH="$(CURDIR)/$(BIN):$$PATH" requirements/lock.sh

clean: ## Undo everything: stop the embedded servers, remove .venv, .warehouse and every build result
	@if [ -x $(BIN)/warehouse ]; then $(BIN)/warehouse down --wipe; fi
	rm -rf $(VENV) .warehouse dist decoder/target dbt/target dbt/logs .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find . -name __pycache__ -not -path './.git/*' -prune -exec rm -rf {} +

# `make help` lists the targets with the comments that follow their names.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
PORT ?= 8000
RIG ?= ../shared/bench
BIN := .venv/bin
GRAPHIQL := gateway/explorer
# Tests wait for processes about half of the time, so two share a core.
PYTEST = $(BIN)/python -m pytest -n $$((2 * $$(getconf _NPROCESSORS_ONLN))) --dist worksteal
# Tests start `siso` hundreds of times; each start without compiled modules takes 0.2 s more.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
COMPILE := uv pip compile pyproject.toml --universal --upgrade --no-strip-extras --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "One test:     .venv/bin/pytest tests/api/test_tasks.py -k 'create and sqlite'"

.PHONY: run
run: NOT_BUILT = echo "The gateway starts without GraphiQL." >&2
run: .venv/installed $(GRAPHIQL)/dist/index.html ## Serve demo data on http://127.0.0.1:8000/graphql until Ctrl-C; `PORT=9000 make run` for another port.
	@exec $(BIN)/siso serve --demo --port $(PORT)

.PHONY: test
test: .venv/installed-dev $(GRAPHIQL)/dist/index.html ## Run all tests on SQLite and PostgreSQL, then lint (six minutes on two cores); with `COVERAGE=1` as CI does.
	@$(PYTEST) -m "not alone" $(if $(COVERAGE),--cov --cov-report=term:skip-covered)
	@$(BIN)/python -m pytest -m alone
ifdef COVERAGE
	@$(BIN)/coverage report --include='repositories/*,resolvers/*,gateway/execution/*' --fail-under=95 --format=total > /dev/null || \
		{ echo "Coverage of repositories/, resolvers/ and gateway/execution/ is under 95 %." >&2; exit 1; }
endif
	@$(MAKE) lint

.PHONY: quick
quick: .venv/installed-dev $(GRAPHIQL)/dist/index.html ## Run the fast tests on SQLite, then ruff and mypy (one minute), while editing.
	@$(PYTEST) -m quick
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

.PHONY: lint
lint: .venv/installed-dev ## Check style, types and the import contracts.
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports

.PHONY: explorer
explorer: $(GRAPHIQL)/dist/index.html ## Build GraphiQL (needs Node 18 or later with npm); `make run` does this too if npm is installed.

.PHONY: bench
bench: .venv/installed-dev ## Compare the executor with graphql-core's, in one process; see docs/performance.md.
	@$(BIN)/python -m benchmarks.executors
	@echo "To compare the gateway with other servers over HTTP: make race RIG=$(RIG)"

.PHONY: race
race: .venv/installed-dev ## Compare the gateway with other servers over HTTP; RIG= is the folder of the benchmark rig.
	@$(BIN)/python -m benchmarks.race --rig $(RIG)

.PHONY: lock
lock: ## Update the lock files to the newest allowed versions (needs uv).
	@command -v uv > /dev/null || { echo "make lock needs uv. Run: pipx install uv" >&2; exit 2; }
	@$(COMPILE) --output-file requirements.lock
	@$(COMPILE) --extra dev --output-file requirements-dev.lock

# .venv/installed and .venv/installed-dev are empty files: while they are newer than the lock files, nothing is installed.
# The development dependencies include those for running.

.venv/installed: requirements.lock pyproject.toml | .venv/bin/python
	@echo "Installing the gateway into .venv (once, takes about a minute) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps -e .
	@touch $@

.venv/installed-dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	@echo "Installing the gateway and its development dependencies into .venv (once, takes some minutes) ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps -e .
	@touch $@ .venv/installed

# The development dependencies include Node and npm. The fetch options let npm fail fast without network access.
NOT_BUILT = exit 2
$(GRAPHIQL)/dist/index.html: export PATH := $(CURDIR)/$(BIN):$(PATH)
$(GRAPHIQL)/dist/index.html: $(GRAPHIQL)/package-lock.json $(GRAPHIQL)/build.mjs $(wildcard $(GRAPHIQL)/src/*)
	@if ! command -v npm > /dev/null; then \
		echo "GraphiQL is not built, because npm is missing. Run: apt install nodejs npm, then make explorer" >&2; $(NOT_BUILT); \
	else \
		echo "Building GraphiQL (once, takes some seconds) ..."; \
		(cd $(GRAPHIQL) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retries=1 --fetch-retry-mintimeout=1000 > /dev/null && \
			npm run --silent build) || { echo "GraphiQL could not be built. Try again with make explorer." >&2; $(NOT_BUILT); }; \
	fi

.venv/bin/python:
	@command -v $(PYTHON) > /dev/null || { echo "Python is missing. Run: apt install python3 python3-venv" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or later is required, but $(PYTHON) is $$($(PYTHON) --version). Run: PYTHON=python3.12 make run" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "Python cannot create virtual environments. Run: apt install python3-venv" >&2; exit 2; }
	@$(PYTHON) -m venv .venv

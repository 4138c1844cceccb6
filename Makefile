# Targets are explained by `make help`, from the comment behind each name.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
PORT ?= 8000
RIG ?= ../shared/bench
BIN := .venv/bin
GRAPHIQL := gateway/explorer
# Tests start `siso` hundreds of times; each start without compiled modules takes 0.2 s more.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
COMPILE := uv pip compile pyproject.toml --universal --upgrade --no-strip-extras --generate-hashes --no-emit-index-url --no-annotate --no-header --quiet

.PHONY: help
help: ## List the targets.
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: run
run: NOT_BUILT = echo "The gateway is served all the same." >&2
run: .venv/installed $(GRAPHIQL)/dist/index.html ## Serve demo data on http://127.0.0.1:8000/graphql; `PORT=9000 make run` elsewhere. Ctrl-C ends it.
	@exec $(BIN)/siso serve --demo --port $(PORT)

.PHONY: test
test: .venv/installed-dev $(GRAPHIQL)/dist/index.html ## Run all tests on SQLite and PostgreSQL, then lint (6 minutes); with `COVERAGE=1` as CI does.
	@$(BIN)/python -m pytest -n 2 --dist worksteal $(if $(COVERAGE),--cov --cov-report=term:skip-covered)
ifdef COVERAGE
	@$(BIN)/coverage report --include='repositories/*,resolvers/*,gateway/execution/*' --fail-under=95 --format=total > /dev/null || \
		{ echo "Coverage of repositories/, resolvers/ and gateway/execution/ is under 95 %." >&2; exit 1; }
endif
	@$(MAKE) lint

.PHONY: quick
quick: .venv/installed-dev ## Run the fast tests on SQLite, then ruff and mypy (under a minute); for use while editing.
	@$(BIN)/python -m pytest -n 2 --dist worksteal -m quick
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
explorer: $(GRAPHIQL)/dist/index.html ## Build GraphiQL (needs Node 18 or newer with npm), as `make run` does if it can.

.PHONY: bench
bench: .venv/installed-dev ## Time the executor beside graphql-core's, in process; docs/performance.md tells of the rest.
	@$(BIN)/python -m benchmarks.executors
	@echo "Over HTTP, beside other servers: make race RIG=$(RIG)"

.PHONY: race
race: .venv/installed-dev ## Time the gateway beside other servers over HTTP; RIG= says where the benchmark rig is.
	@$(BIN)/python -m benchmarks.race --rig $(RIG)

.PHONY: lock
lock: ## Choose the newest allowed versions of all dependencies anew (needs uv).
	@command -v uv > /dev/null || { echo "make lock needs uv: pipx install uv" >&2; exit 2; }
	@$(COMPILE) --output-file requirements.lock
	@$(COMPILE) --extra dev --output-file requirements-dev.lock

# The stamps make the second run skip the installation. What tests need contains what running needs.

.venv/installed: requirements.lock pyproject.toml | .venv/bin/python
	@echo "Installing the gateway into .venv (once; a minute or so) ..."
	@$(PIP) install --require-hashes -r requirements.lock
	@$(PIP) install --no-deps -e .
	@touch $@

.venv/installed-dev: requirements-dev.lock pyproject.toml | .venv/bin/python
	@echo "Installing the gateway and what its tests need into .venv (once; some minutes) ..."
	@$(PIP) install --require-hashes -r requirements-dev.lock
	@$(PIP) install --no-deps -e .
	@touch $@ .venv/installed

# What tests need contains Node. Without a registry in reach npm shall not try for minutes.
NOT_BUILT = exit 2
$(GRAPHIQL)/dist/index.html: export PATH := $(CURDIR)/$(BIN):$(PATH)
$(GRAPHIQL)/dist/index.html: $(GRAPHIQL)/package-lock.json $(GRAPHIQL)/build.mjs $(wildcard $(GRAPHIQL)/src/*)
	@if ! command -v npm > /dev/null; then \
		echo "GraphiQL is built by npm, which is missing: apt install nodejs npm, then make explorer" >&2; $(NOT_BUILT); \
	else \
		echo "Building GraphiQL (once; some seconds) ..."; \
		(cd $(GRAPHIQL) && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error --fetch-retries=1 --fetch-retry-mintimeout=1000 > /dev/null && \
			npm run --silent build) || { echo "GraphiQL could not be built; make explorer tries again." >&2; $(NOT_BUILT); }; \
	fi

.venv/bin/python:
	@command -v $(PYTHON) > /dev/null || { echo "Python is missing: apt install python3 python3-venv" >&2; exit 2; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, $$($(PYTHON) --version) was found; try PYTHON=python3.12 make run" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
		{ echo "Python cannot make virtual environments here: apt install python3-venv" >&2; exit 2; }
	@$(PYTHON) -m venv .venv

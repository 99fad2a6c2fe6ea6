# `make help` lists what there is. Every target sets up .venv/ by itself and keeps it while pyproject.toml and
# constraints.txt do not change. PYTHON chooses the interpreter, PIP_FLAGS goes to pip, PYTEST_ARGS to pytest,
# BENCH_ARGS to each benchmark, DEMO_ARGS to the demo, BUF names a buf that is already installed.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help setup prepare generate demo test torture deploy-check clients containers check style types layers contract bench baseline format clean

PYTHON ?= python3
PIP_FLAGS ?=
PYTEST_ARGS ?=
BENCH_ARGS ?=
DEMO_ARGS ?=

# Modules are compiled when they are first imported: most of those that come along never are.
PIP := --quiet --disable-pip-version-check --no-compile

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
DEPLOY := $(VENV)/deploy
DEPLOY_INSTALLED := $(DEPLOY)/.installed
NODE_CLIENT := examples/clients/node
PINNED_BUF := tools/node_modules/.bin/buf
BUF ?= $(PINNED_BUF)

TYPED := chronos_common services/coordinator/chronos_coordinator services/worker/chronos_worker \
         protos/generate.py tools tests/support $(wildcard examples benchmarks)
BENCHMARKS := $(sort $(patsubst benchmarks/%.py,%,$(filter-out benchmarks/_%,$(wildcard benchmarks/*.py))))

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(INSTALLED) ## Create .venv/ with everything that development needs

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Chronos needs Python 3.11 or later: make PYTHON=/path/to/python3.11")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install $(PIP) $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@touch $@

# With -j, beside each other.
prepare: $(INSTALLED) $(DEPLOY_INSTALLED) $(filter $(PINNED_BUF),$(BUF)) $(NODE_CLIENT)/node_modules ## All that any target installs

generate: $(INSTALLED) ## Refresh the stubs in chronos_common/pb from protos/
	@$(BIN)/python protos/generate.py

demo: generate ## Data hyper-cleaning with a coordinator and three workers; report in chronos-out/
	$(BIN)/chronos demo $(DEMO_ARGS)

# What a tracer slows down most, or cannot see, runs without it: generated histories, long sums, and real processes.
UNTRACED := histories or numerical or process
APART := torture or deploy or clients or containers

test: generate ## All tests, with line coverage of what runs inside of pytest, and its gate
	@$(BIN)/coverage erase
	$(BIN)/python -m pytest -m "($(UNTRACED)) and not ($(APART))" -n auto --maxprocesses 4 --dist loadfile
	$(BIN)/coverage run -m pytest -m "not ($(UNTRACED) or $(APART))" -n auto --maxprocesses 4 --dist loadfile $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

torture: generate ## The tests that kill and stop processes for minutes
	$(BIN)/python -m pytest -m torture -n 2 $(PYTEST_ARGS)

deploy-check: generate $(DEPLOY_INSTALLED) ## Manifests, rules and dashboards against their checkers; needs kubectl
	$(BIN)/python -m pytest -m deploy -n auto --maxprocesses 2 --dist loadfile $(PYTEST_ARGS)

$(DEPLOY_INSTALLED): tools/deploy-requirements.txt
	@command -v kubectl >/dev/null || { echo "kubectl is missing: https://kubernetes.io/docs/tasks/tools" >&2; exit 1; }
	$(PYTHON) -m venv $(DEPLOY)
	$(DEPLOY)/bin/python -m pip install $(PIP) $(PIP_FLAGS) -r tools/deploy-requirements.txt
	@touch $@

clients: generate $(NODE_CLIENT)/node_modules ## The clients in other languages, with Node.js and a container engine
	$(BIN)/python -m pytest -m clients -n 2 --dist loadfile $(PYTEST_ARGS)

$(NODE_CLIENT)/node_modules: $(NODE_CLIENT)/package.json $(NODE_CLIENT)/package-lock.json
	@command -v npm >/dev/null || { echo "the Node client needs Node.js 20.15 or later with npm" >&2; exit 1; }
	npm ci --prefix $(NODE_CLIENT) --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch $@

containers: generate ## The images, built and run by a container engine: docs/containers.md
	$(BIN)/python -m pytest -m containers tests/containers $(PYTEST_ARGS)

check: style types layers contract ## Style, types, layers, sizes and the wire contract (-k goes on after a failure)

style: $(INSTALLED)
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/python tools/house.py
	$(BIN)/python tools/documents.py --check
	$(BIN)/python -m tools.dashboard --check
	$(BIN)/python tools/prometheus_rule.py --check

types: $(INSTALLED)
	$(BIN)/python protos/generate.py --check
	$(BIN)/mypy $(TYPED)

layers: $(INSTALLED)
	$(BIN)/lint-imports

contract: $(filter $(PINNED_BUF),$(BUF))
	$(BUF) lint protos
	$(BUF) breaking protos --against protos/baseline.binpb

bench: generate ## Every benchmark against its bars; BENCH_ARGS=--quick for a short look
	@failed=; for name in $(BENCHMARKS); do \
	    $(BIN)/python -m benchmarks.$$name --check $(BENCH_ARGS) || failed="$$failed $$name"; \
	done; test -z "$$failed" || { echo "bars missed:$$failed" >&2; exit 1; }

baseline: $(filter $(PINNED_BUF),$(BUF)) ## On a release only: make today's protos the contract that may not break
	$(BUF) build protos -o protos/baseline.binpb

format: $(INSTALLED) ## Let ruff format the code and repair what it safely can
	$(BIN)/ruff format
	$(BIN)/ruff check --fix

$(PINNED_BUF): tools/package.json tools/package-lock.json
	@command -v npm >/dev/null || { echo "buf comes as an npm package: install Node.js, or run make with BUF=/path/to/buf" >&2; exit 1; }
	npm install --prefix tools --no-save --ignore-scripts --no-fund --no-audit --loglevel=error
	@touch $@

clean: ## Remove what was built or generated, the environment too
	rm -rf $(VENV) chronos_common/pb tools/node_modules $(NODE_CLIENT)/node_modules build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf .import_linter_cache htmlcov .coverage .coverage.* chronos-out
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Everything starts here: `make help`. Each target does its own set-up; a second run installs nothing.
#
# Needs Python >= 3.11 with venv, git and make. PYTHON=python3.12 picks another interpreter, WITH="…" passes further
# arguments to pytest, the demo or the benchmarks (make test WITH="tests/core -k retry").

PYTHON ?= python3
WITH ?=

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# All paths are relative, so that a checkout may lie under a path with spaces.
UV := .venv-tools/bin/uv
BIN := .venv/bin

# No package from outside the environments, no interpreter from outside the machine.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PYTHONNOUSERSITE := 1
export UV_PYTHON_DOWNLOADS := never
# uv trusts the certificates it brings along. Where the machine has its own (a company's, say), trust those.
ifneq ($(wildcard /etc/ssl/certs/ca-certificates.crt),)
export UV_SYSTEM_CERTS := 1
endif
export UV_CUSTOM_COMPILE_COMMAND := make lock

# An environment is up to date when its stamp is newer than the lock. One that was copied or moved here, or whose
# interpreter is gone, is made anew: the stamp's name holds the folder and the interpreter.
place := $(shell printf '%s\n' "$(CURDIR)" "$$(readlink -f "$$(command -v $(PYTHON) || echo none)")" | cksum | cut -d' ' -f1)
stamp = $(1)/.ready-$(place)

# $(call environment,FOLDER,LOCK): exactly what the lock says, and this package, editable.
define environment
	@echo "==> $(1): $(2)"
	@test -x $(1)/bin/python && test -e $@ || { rm -rf $(1); .venv-tools/bin/python -m venv --without-pip $(1); }
	@$(UV) pip sync --quiet --python $(1)/bin/python $(2)
	@$(UV) pip install --quiet --python $(1)/bin/python --no-deps --no-build-isolation --editable .
	@touch $@
endef

.PHONY: help
help: ## Print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# ------------------------------------------------------------------------------------------------ set-up

.PHONY: setup
setup: $(call stamp,.venv) ## Make .venv, the development environment, and nothing else

$(call stamp,.venv-tools): requirements/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    echo "Python 3.11 or newer is needed: $$($(PYTHON) --version 2>&1 || true). Try: make PYTHON=python3.12 …" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "$(PYTHON) cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@rm -rf .venv-tools
	@$(PYTHON) -m venv .venv-tools
	@.venv-tools/bin/python -m pip install --quiet --disable-pip-version-check --requirement requirements/uv.txt
	@touch $@

$(call stamp,.venv): requirements/newest.txt pyproject.toml $(call stamp,.venv-tools)
	$(call environment,.venv,requirements/newest.txt)

$(call stamp,.venv-bench): requirements/bench.txt pyproject.toml $(call stamp,.venv-tools)
	$(call environment,.venv-bench,requirements/bench.txt)

# -------------------------------------------------------------------------------------------------- use

.PHONY: demo ui bench
demo: $(call stamp,.venv) ## Run Airflow, the simulated vendors and the example DAGs once, to the end
	$(BIN)/python demo/run.py $(WITH)

ui: $(call stamp,.venv) ## The same with Airflow's web interface, until you stop it
	$(BIN)/python demo/run.py --ui $(WITH)

bench: $(call stamp,.venv-bench) ## Run the benchmarks, beside other providers
	.venv-bench/bin/python -m benchmarks $(WITH)

# ----------------------------------------------------------------------------------------------- develop

.PHONY: test lint format typecheck docs screenshots new-vendor
test: export AIRFLOW_HOME := $(CURDIR)/.airflow-test
test: $(call stamp,.venv) ## Run the tests on the newest Airflow, in parallel (WITH="-n 0": one by one)
	$(BIN)/python -m pytest -n auto $(WITH)

lint: $(call stamp,.venv) ## Check style, format and spelling
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m codespell_lib

format: $(call stamp,.venv) ## Put the code in order
	$(BIN)/python -m ruff check --fix .
	$(BIN)/python -m ruff format .

typecheck: $(call stamp,.venv) ## Check the package's types
	$(BIN)/python -m mypy

docs: $(call stamp,.venv) ## Build the documentation into docs/_build/html
	$(BIN)/python -m sphinx -nW --keep-going docs docs/_build/html

screenshots: $(call stamp,.venv) ## Take the pictures of the connection forms anew, in Chromium
	$(BIN)/python -m demo.screenshots $(WITH)

INTO ?= ..
new-vendor: $(call stamp,.venv) ## Write the skeleton of a package that adds vendor NAME, in folder INTO (..)
	$(BIN)/python -m airflow_provider_exports.testing.new_vendor "$(NAME)" --into "$(INTO)"

# ----------------------------------------------------------------------------------------------- release

.PHONY: wheel test-wheel lock
wheel: $(call stamp,.venv) ## Build dist/: the sdist, and the wheel from it
	@rm -rf dist
	$(BIN)/python -m build --no-isolation

test-wheel: wheel ## Test the built wheel: all on the oldest Airflow, on the newest what an installation can break
	.ci/test-wheel oldest $(WITH)
	.ci/test-wheel newest $(WITH)

# UPGRADE=1 takes the newest release of everything; without it only what must change does.
LOCK := $(UV) pip compile --quiet --universal --python-version 3.11 $(if $(UPGRADE),--upgrade)
lock: $(call stamp,.venv-tools) ## Write requirements/*.txt anew (UPGRADE=1: to the newest releases)
	$(LOCK) pyproject.toml requirements/newest.in --group dev --output-file requirements/newest.txt
	$(LOCK) pyproject.toml requirements/oldest.in --group test --output-file requirements/oldest.txt \
	    --resolution lowest-direct
	$(LOCK) pyproject.toml requirements/bench.in --output-file requirements/bench.txt

.PHONY: clean
clean: ## Remove everything that was made here, environments too
	rm -rf .venv .venv-* .nox .airflow-* .demo .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage .coverage.* \
	    build dist docs/_build
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

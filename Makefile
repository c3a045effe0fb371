# Everything runs in .venv; only make and Python 3.11 to 3.13 must be installed.
# Another interpreter: make PYTHON=python3.12 test
PYTHON ?= python3
PYTEST_ARGS ?= -n 2
# The least percentage of lines of src/roinspect that the tests must run. Lines run in child processes are not counted.
COVERAGE_FLOOR := 91

VENV := .venv
BIN := $(VENV)/bin
SOURCES := src tests examples docs/hooks $(wildcard benchmarks)

.DEFAULT_GOAL := help
.PHONY: help demo test test-extras lint docs format venv clean

help:
	@echo "make demo    a synthetic product, from photographs to a verdict (a few minutes on 2 cores, and the install)"
	@echo "make test    all tests, with a floor for their coverage"
	@echo "make test-extras  the tests of the extras peers (anomalib) and scale (Ray, Parquet), in .venv-extras"
	@echo "make lint    ruff, mypy and the direction of imports"
	@echo "make docs    the pages of docs/ as a site, in site/; a warning is an error"
	@echo "make format  format the code"
	@echo "make venv    only install, for development"
	@echo "make clean   remove .venv, .venv-extras and caches"

demo: $(VENV)/.stamp-run
	$(BIN)/roinspect demo

# One thread a worker: otherwise two processes with torch compete for two cores.
test: $(VENV)/.stamp-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest $(PYTEST_ARGS) \
		--cov=roinspect --cov-report=term:skip-covered --cov-fail-under=$(COVERAGE_FLOOR)

# anomalib and Ray are large and pin many versions, so they have their own environment.
EXTRAS := .venv-extras
EXTRAS_TESTS := tests/comparison/test_peers.py tests/comparison/test_compare.py tests/comparison/test_compare_terms.py \
	tests/comparison/test_docs_anomalib.py \
	tests/production/test_batch.py tests/production/test_batch_tables.py tests/evaluation/test_metrics.py \
	tests/reproduction/test_reproduce.py

test-extras: $(EXTRAS)/.stamp
	OMP_NUM_THREADS=1 $(EXTRAS)/bin/python -m pytest $(EXTRAS_TESTS)

$(EXTRAS)/.stamp: pyproject.toml
	test -x $(EXTRAS)/bin/python || $(PYTHON) -m venv $(EXTRAS)
	$(EXTRAS)/bin/python -m pip install --disable-pip-version-check -e ".[peers,scale,test,train,weights]"
	@touch $@

lint: $(VENV)/.stamp-dev
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy
	$(BIN)/lint-imports

# Not --quiet, which hides warnings from --strict too.
docs: $(VENV)/.stamp-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(VENV)/.stamp-dev
	$(BIN)/ruff check --fix $(SOURCES)
	$(BIN)/ruff format $(SOURCES)

venv: $(VENV)/.stamp-dev

# A stamp is touched only after a successful install, so a second call installs nothing.
$(VENV)/.stamp-dev: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[dev]"
	@touch $(VENV)/.stamp-run $@

$(VENV)/.stamp-run: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --disable-pip-version-check -e ".[train,weights]"
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "$(PYTHON) is not Python 3.11 to 3.13; name one that is: make PYTHON=python3.12 ..." >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) $(EXTRAS) .mypy_cache .pytest_cache .ruff_cache .hypothesis build dist site
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

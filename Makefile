# The everyday commands. CI runs the same ones, see .ci/run.
#
#   make demo      install into .venv, run the quickstart
#   make test      install into .venv, lint, run the fast tests
#   make test-all  the same with the slow tests, and more examples of hypothesis
#   make test-processors
#                  the checks of the same answer anywhere, as on other processors
#   make test-floor       the fast tests with the lowest versions that are supported
#   make test-no-pyarrow  those of tables and of saving, without pyarrow and polars
#   make test-newest      the fast tests with the newest versions of all but torch
#   make lint      ruff and codespell only
#   make docs      install what they need, build docs/_build/html, run the examples
#   make clean     remove the environments and everything that was generated
#
# Only Python >= 3.11, make and git are needed. To choose the interpreter:
#   make test PYTHON=/path/to/python3
# To keep one environment for each:
#   make test PYTHON=python3.13 VENV=.venv-3.13

VENV := .venv
BIN := $(VENV)/bin
# Touched after a complete install: a second run reuses the environment, a run after
# a change of the dependencies (or after an interrupted install) brings it up to date.
STAMP := $(VENV)/.installed
FLOOR := .venv-floor
NEWEST := .venv-newest
NO_PYARROW := .venv-no-pyarrow
DOCS_STAMP := $(VENV)/.installed-docs
# `make docs SPHINXOPTS="-D plot_gallery=0"` builds without running the examples.
SPHINXOPTS ?=

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 \
	python; do if $$python -c "$(NEW_ENOUGH)" >/dev/null 2>&1; \
	then echo $$python; break; fi; done)

# The lowest versions have no wheels for the newest interpreters.
FLOOR_PYTHON ?= $(shell command -v python3.11 || echo $(PYTHON))

# Tests share the cores, up to four: each process holds all of torch and pandas.
PYTEST := -m pytest -q --numprocesses=logical --maxprocesses=4
# A file of fast tests stays in one process: what its fixtures fit or launch is made
# once. Slow tests would leave the other processes idle at the end of the longest file.
FAST := $(PYTEST) --dist=loadfile -m "not slow"
ALL := $(PYTEST) --dist=worksteal --hypothesis-profile=thorough
INSTALL := -m pip install --quiet --disable-pip-version-check

# What differs without pyarrow: columns of strings, and files that hold their dtypes.
TABLES := tests/table/test_state.py tests/table/test_codec.py \
	tests/table/test_kinds.py tests/test_saving.py \
	tests/test_base.py tests/test_datasets.py tests/test_metrics.py \
	tests/test_over_sampling.py tests/test_pipeline.py

.PHONY: demo test test-all test-processors test-floor test-no-pyarrow test-newest \
	lint docs format clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/python examples/quickstart.py

# One thread: the networks here are too small to gain from a second one, and on a busy
# machine threads that wait for each other took the demo from 18 seconds to minutes.
demo test test-all test-processors test-floor test-no-pyarrow test-newest lint docs: \
	export OMP_NUM_THREADS = 1

test: lint
	$(BIN)/python $(FAST)

test-all: lint
	$(BIN)/python $(ALL)

test-floor: $(FLOOR)/.installed
	$(FLOOR)/bin/python $(FAST)

test-no-pyarrow: $(NO_PYARROW)/.installed
	$(NO_PYARROW)/bin/python $(FAST) $(TABLES)

# Upgraded by each run. torch alone is as pinned: newer wheels bring CUDA's libraries.
test-newest:
	test -x $(NEWEST)/bin/python || $(PYTHON) -m venv $(NEWEST)
	$(NEWEST)/bin/python $(INSTALL) --upgrade --upgrade-strategy eager \
		"$$(grep ^torch== constraints.txt)" -e ".[test,imbalanced,plot]"
	$(NEWEST)/bin/python $(FAST)

# The same processor, with fewer of its instructions. `make test` uses all of them.
# MKL keeps its own: those that it has for AVX2 on some processors of Intel give a row of
# a product other last bits by its place among others, which is not mended.
SAME_ANSWERS := $(BIN)/python $(FAST) tests/nn/test_chunks.py tests/test_common.py \
	-k "same_bits or same_path or invariance"

test-processors: $(STAMP)
	$(SAME_ANSWERS)
	ATEN_CPU_CAPABILITY=default $(SAME_ANSWERS)
	ATEN_CPU_CAPABILITY=avx2 $(SAME_ANSWERS)

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell

# Warnings are errors, all of them shown at once. Examples that did not change are not
# run again.
docs: $(DOCS_STAMP)
	$(BIN)/python -m sphinx -W --keep-going -q $(SPHINXOPTS) docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "No Python >= 3.11 found on the PATH." \
		"Install one, or name it: make PYTHON=/path/to/python3"; exit 1; }
	@echo "Installing into $(VENV) (the first time takes some minutes: torch is large)"
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python $(INSTALL) -c constraints.txt -e ".[test,imbalanced,plot]"
	@touch $@

$(FLOOR)/.installed: pyproject.toml constraints-floor.txt
	@echo "Installing the lowest versions into $(FLOOR) (some minutes the first time)"
	test -x $(FLOOR)/bin/python || $(FLOOR_PYTHON) -m venv $(FLOOR)
	$(FLOOR)/bin/python $(INSTALL) -c constraints-floor.txt \
		-e ".[test,imbalanced,plot]"
	@touch $@

# Nothing is downloaded: links to all that $(VENV) holds, but for pyarrow and polars.
$(NO_PYARROW)/.installed: $(STAMP)
	rm -rf $(NO_PYARROW)
	$(BIN)/python -m venv --without-pip $(NO_PYARROW)
	cd $(NO_PYARROW)/lib/python*/site-packages && \
		for item in $(abspath $(VENV))/lib/python*/site-packages/*; do \
			case $$(basename $$item) in \
				pyarrow*|polars*|_polars*) ;; \
				*) ln -s $$item . ;; \
			esac; \
		done
	! $(NO_PYARROW)/bin/python -c "import pyarrow" 2>/dev/null
	! $(NO_PYARROW)/bin/python -c "import polars" 2>/dev/null
	@touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python $(INSTALL) -c constraints.txt -e ".[docs,imbalanced]"
	@touch $@

clean:
	rm -rf $(VENV) $(FLOOR) $(NEWEST) $(NO_PYARROW)
	rm -rf build dist .pytest_cache .ruff_cache .mypy_cache .hypothesis
	rm -rf docs/_build docs/auto_examples docs/generated
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

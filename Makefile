# The everyday commands. CI runs the same ones, see .ci/run.
#
#   make demo      install into .venv, run the quickstart
#   make test      install into .venv, lint, run the fast tests
#   make test-all  the same with the slow tests
#   make lint      ruff and codespell only
#   make docs      install what they need, build docs/_build/html, run the examples
#   make clean     remove .venv and everything that was generated
#
# Only Python >= 3.11, make and git are needed. To choose the interpreter:
#   make test PYTHON=/path/to/python3

VENV := .venv
BIN := $(VENV)/bin
# Touched after a complete install: a second run reuses the environment, a run after
# a change of the dependencies (or after an interrupted install) brings it up to date.
STAMP := $(VENV)/.installed
DOCS_STAMP := $(VENV)/.installed-docs
# `make docs SPHINXOPTS="-D plot_gallery=0"` builds without running the examples.
SPHINXOPTS ?=

NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11 python3.14 \
	python; do if $$python -c "$(NEW_ENOUGH)" >/dev/null 2>&1; \
	then echo $$python; break; fi; done)

.PHONY: demo test test-all lint docs format clean
.DELETE_ON_ERROR:

demo: $(STAMP)
	$(BIN)/python examples/quickstart.py

# One thread: the networks here are too small to gain from a second one, and on a busy
# machine threads that wait for each other took the demo from 18 seconds to minutes.
demo test test-all lint docs: export OMP_NUM_THREADS = 1

test: lint
	$(BIN)/python -m pytest -q -m "not slow"

test-all: lint
	$(BIN)/python -m pytest -q

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
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e ".[test,imbalanced,plot]"
	@touch $@

$(DOCS_STAMP): $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-c constraints.txt -e ".[docs,imbalanced]"
	@touch $@

clean:
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .hypothesis
	rm -rf docs/_build docs/auto_examples docs/generated
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

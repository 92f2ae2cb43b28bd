# The verbs of this project. `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
PIP := $(BIN)/python -m pip --disable-pip-version-check
MINUTES ?= 10
STUDY ?=

.PHONY: help install models demo test test-all lint type format bench results check

help: ## list the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: models ## make .venv, install, fetch the embedded models and MovieLens-100K

demo: install ## distil on MovieLens-100K and compare teacher, student, popularity (MINUTES=10)
	$(BIN)/recsys demo --minutes $(MINUTES)

test: $(VENV)/dev.stamp models ## run the default tests, with the examples in docstrings
	$(BIN)/python -m pytest

test-all: $(VENV)/dev.stamp models ## run all tests, the slow ones too
	$(BIN)/python -m pytest -m 'not bench and not ollama'

lint: $(VENV)/dev.stamp ## check format, style and the direction of imports
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

type: $(VENV)/dev.stamp ## check types
	$(BIN)/mypy

format: $(VENV)/dev.stamp ## format and mend what can be mended
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev.stamp models ## run the benchmarks
	$(PIP) install --quiet -c constraints.txt -e '.[ml,dev,bench]'
	$(BIN)/python -m pytest tests/bench -m bench --timeout=0

results: install ## remake the tables of the README, or of STUDY="…"; goes on where stopped
	$(BIN)/python -m tests.results $(STUDY)

check: lint type test ## exactly what continuous integration runs

# torch comes first and alone, because its index may be another one:
# make install TORCH_INDEX_URL=… names the index of the wheels without CUDA.
$(VENV)/core.stamp: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) install --quiet --upgrade -c constraints.txt pip
	$(PIP) install --quiet -c constraints.txt $(TORCH) $(if $(TORCH_INDEX_URL),--index-url $(TORCH_INDEX_URL))
	$(PIP) install --quiet -c constraints.txt -e '.[ml]'
	touch $@

$(VENV)/dev.stamp: $(VENV)/core.stamp
	$(PIP) install --quiet -c constraints.txt -e '.[ml,dev]'
	touch $@

# No stamp: the files lie in the user's data folder, not in the checkout, and may go from there.
# Both commands look first, and bring only what is missing.
models: $(VENV)/core.stamp
	@$(BIN)/recsys models fetch
	@$(BIN)/recsys data pull movielens-100k

# On a fresh machine each target makes .venv first. `make` is what CI runs and a little more.
PYTHON ?= python3
BIN := .venv/bin
export HF_HUB_OFFLINE := 1
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: check format lint types test demo bench fix fixtures setup clean

check: format lint types test

format: .venv/stamp
	$(BIN)/ruff format --check .

lint: .venv/stamp
	$(BIN)/ruff check .

types: .venv/stamp
	$(BIN)/mypy

test: .venv/stamp
	$(BIN)/python -m pytest

demo: .venv/stamp
	$(BIN)/python docs/demo/demo.py

bench: .venv/stamp
	$(BIN)/python -m benchmarks

fix: .venv/stamp
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

fixtures: .venv/stamp
	$(BIN)/python fixtures/train_tiny_lm.py

setup: .venv/stamp

clean:
	rm -rf .venv build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

# torch by itself and by its exact version: so pip takes the build for CPUs where it finds one.
.venv/stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev]'
	touch $@

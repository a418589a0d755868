PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: demo test check lint accuracy fashion-mnist install clean

demo: install                     ## a teacher becomes three proven int8 bundles, in six minutes
	$(BIN)/edgekd run quickstart

install: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(PIP) -e '.[all]'
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	$(PIP) -e '.[dev]'
	@touch $@

test: $(VENV)/.installed-test     ## the test suite
	$(BIN)/python -m pytest

lint: $(VENV)/.installed-test     ## ruff, mypy strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test

accuracy: $(VENV)/.installed-test ## three seeds of quickstart against their promises
	$(BIN)/python -m pytest -m slow tests/test_accuracy.py

fashion-mnist: install            ## benchmarks/results/fashion-mnist.jsonl, resumable
	$(BIN)/python benchmarks/fashion_mnist.py

clean:
	rm -rf $(VENV) build dist *.egg-info

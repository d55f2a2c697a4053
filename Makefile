# make run     install what is needed into .venv and take the whole road once
# make test    the test suite
# make check   lint, format, types, layers, and whether the README tells the truth
# make tables  the documents' tables and the shipped models' card, from results/
# make bench   seconds to an accuracy, against the usual tutorial network
# make docs    the documentation as a site, in site/, with the notebooks executed
# make dist    what is published: the wheel and the source, in dist/
PYTHON ?= python3
BIN := .venv/bin
TABLES := README.md docs/results.md docs/leak.md docs/writers.md docs/audit.md docs/recogniser.md docs/reading.md docs/ensemble.md docs/reliability.md src/tenfold/pretrained/card.md

.PHONY: run test check tables bench docs dist clean
.DEFAULT_GOAL := run

run: .venv/.installed
	$(BIN)/tenfold quickstart

test: .venv/.installed-dev
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

check: .venv/.installed-dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --quiet -m "not slow" tests/test_readme.py
	$(BIN)/python benchmarks/tables.py --check --results results $(TABLES)
	$(BIN)/python benchmarks/card.py --check

tables: .venv/.installed
	$(BIN)/python benchmarks/tables.py --write --results results $(TABLES)
	$(BIN)/python benchmarks/card.py --write

bench: .venv/.installed
	$(BIN)/python benchmarks/time_to_accuracy.py

docs: .venv/.installed-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

dist: $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check 'build>=1.3,<2'
	rm -rf dist
	$(BIN)/python -m build

clean:
	rm -rf .venv build dist site .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Error: '$(PYTHON)' is older than Python 3.11. Run: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "Creating .venv"
	@$(PYTHON) -m venv .venv

# The stamps make a second `make` start at once; a changed pyproject.toml installs again.
.venv/.installed: pyproject.toml | $(BIN)/python
	@echo "Installing Tenfold with what training needs into .venv (once; PyTorch is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train]'
	@touch $@

.venv/.installed-dev: pyproject.toml | $(BIN)/python
	@echo "Installing Tenfold with what training, tests and checks need into .venv (once; PyTorch is large)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[train,pdf,audit,track,docs,dev]'
	@touch .venv/.installed $@

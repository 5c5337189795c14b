# Everything a newcomer needs: `make demo`. Needs Python 3.11+ (with venv) and make, nothing else.
#
#   make demo [DATA=folder]    store, query and retrieve over mutual TLS; a volume and a picture
#   make test [ARGS="-k x"]    every test; DCMTK and Orthanc take part when they are installed
#   make lint | make types     ruff | mypy over product, tests and benchmarks, and pyright on public names
#   make cover                 branches covered by a room's own tests; fails under 99 % (core), 94 % (files)
#   make docs                  draw the pages that are drawn from the code
#   make site                  the documentation as a site, in build/site
#   make mutants [ARGS=...]    one-line changes of the product, each of which a test must notice
#   make fuzz [SECONDS=60]     each fuzz target for that long
#   make bench [ARGS="..."]    us beside DCMTK, Orthanc and pynetdicom; ARGS=--results writes benchmarks/RESULTS.md
#   make bench-quick           a tenth of that
#   make bench-check           single steps by instructions executed (valgrind), beside the last stored run
#   make soak [ARGS="..."]     a thousand idle and a hundred active associations
#   make chaos [ARGS="..."]    ten minutes through a cutting proxy, with a ledger; then a retrieve that endures
#   make clean                 remove what the above made

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
SECONDS ?= 60
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test lint types cover docs site mutants fuzz bench bench-quick bench-check soak chaos clean
.DELETE_ON_ERROR:

help:
	@sed -n 's/^#   //p' Makefile

demo: $(VENV)/.demo
	@$(BIN)/aiodicom demo $(if $(DATA),--data "$(DATA)")

test: $(VENV)/.test $(VENV)/.examples
	$(BIN)/python -m pytest -n auto $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.lint $(VENV)/.test $(VENV)/.examples
	$(BIN)/mypy
	cd tests && ../$(BIN)/mypy --config-file mypy.ini . ../benchmarks
	$(BIN)/python .ci/public_types.py

cover: $(VENV)/.test
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest -q -n auto tests/pdu tests/dimse
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --fail-under=99
	$(BIN)/python -m coverage run --source aiodicom.dataset,aiodicom.imaging,aiodicom.archive \
	    -m pytest -q -n auto tests/dataset tests/imaging tests/archive
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered --fail-under=94

site: $(VENV)/.docs
	$(BIN)/python -m sphinx -q -W --keep-going -b html docs build/site

docs: $(VENV)/.test
	$(BIN)/python docs/states.py
	$(BIN)/python docs/cases.py
	$(BIN)/python docs/statement.py
	$(BIN)/python docs/reference.py

mutants: $(VENV)/.test
	$(BIN)/python tests/mutants/run.py $(ARGS)

fuzz: $(VENV)/.test $(VENV)/.fuzz
	$(BIN)/python tests/fuzz/run.py --seconds $(SECONDS) $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/python benchmarks/compare.py $(ARGS)

bench-quick: $(VENV)/.bench
	$(BIN)/python benchmarks/compare.py --quick $(ARGS)

bench-check: $(VENV)/.bench
	$(BIN)/python benchmarks/check.py $(ARGS)

soak: $(VENV)/.bench
	$(BIN)/python benchmarks/soak.py $(ARGS)

chaos: $(VENV)/.bench
	$(BIN)/python benchmarks/chaos.py $(ARGS)
	$(BIN)/python benchmarks/endure.py

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# One environment; each extra has a stamp in it that is older than pyproject.toml when it must be renewed.
# The path file is for type checkers: mypy and pyright do not follow setuptools' import hook, and its strict mode
# would miss files that are added later.
$(VENV)/.%: pyproject.toml | $(BIN)/python
	@echo "Installing aiodicom[$*] into $(VENV) ..."
	@$(PIP) install --editable ".[$*]"
	@echo "$(CURDIR)/.link" >"$$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])')/aiodicom-clone.pth"
	@touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	    found=$$($(PYTHON) --version 2>/dev/null || echo "not there"); \
	    echo "aiodicom needs Python 3.11 or newer, but $(PYTHON) is $$found. Name another: make PYTHON=python3.12 ..." >&2; \
	    exit 1; }
	@echo "Making $(VENV) ..."
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); \
	    echo "$(PYTHON) cannot make a virtual environment (on Debian: apt-get install python3-venv)." >&2; exit 1; }

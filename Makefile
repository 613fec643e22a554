# The front door. `make help` lists what there is.
.DEFAULT_GOAL := help
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
PORT ?= 8000
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/ready
TORCH := $(shell sed -n 's/^\(torch==[^ ;]*\).*/\1/p' requirements.lock)
TORCH_CPU := https://download.pytorch.org/whl/cpu

.PHONY: help book smoke full reference test bench mnist serve lab lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' Makefile

book: $(READY) ## build the book: build/reader/html/index.html
	$(BIN)/python -m caebook.build reader $(if $(CLUSTER),--cluster $(CLUSTER))

smoke: $(READY) ## build every chapter with tiny trainings: build/smoke/html/index.html
	$(BIN)/python -m caebook.build smoke $(if $(CLUSTER),--cluster $(CLUSTER))

full: $(READY) ## train everything by the sources' full recipes (hours; resumable)
	$(BIN)/python -m caebook.build full $(if $(CLUSTER),--cluster $(CLUSTER))

# The plus sign lets `make -n` run the line, which then only lists what is missing.
DRY := $(if $(findstring n,$(filter-out -%,$(firstword $(MAKEFLAGS)))),-n)
reference: $(READY) ## train what reference/ lacks (JOBS=1 leaves a core free; -n lists it)
	+@$(BIN)/python -m caebook.build.plan $(if $(JOBS),--cores $(JOBS)) $(if $(CLUSTER),--cluster $(CLUSTER)) $(DRY)

test: $(READY) ## run all tests: units, every notebook, the site, the browser
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/python -m caebook.build smoke
	$(BIN)/python -m pytest

bench: $(READY) ## measure speed, as ratios (RECORD=--record keeps the results for the book)
	@for name in metrics codec book training; do $(BIN)/python benchmarks/$$name.py $(RECORD); done

serve: ## open the built book on http://localhost:8000 (PORT=… to change)
	@test -f build/reader/html/index.html || { echo "Nothing built yet: run 'make book' first."; exit 1; }
	@echo "The book is at http://localhost:$(PORT)/ (Ctrl-C stops)"
	@$(PYTHON) -m http.server --bind 127.0.0.1 --directory build/reader/html $(PORT)

lab: $(READY) ## open the notebooks in JupyterLab
	$(BIN)/jupyter lab notebooks

mnist: $(READY) ## download MNIST, or check the files that are here
	$(BIN)/caebook data fetch mnist

lock: ## renew requirements.lock with uv (UPGRADE=--upgrade for newer versions)
	uv pip compile pyproject.toml --extra train --extra book --extra test --universal \
	  --python-version 3.11 --no-header --no-annotate $(UPGRADE) -o requirements.lock

clean: ## remove what was built, but not the environment
	rm -rf build

# Torch first and by itself: its CPU build is on an index of its own, and everything
# else must not be looked up there.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import platform, sys; v = sys.version_info[:2]; m = (platform.system(), platform.machine()); \
	  (3, 11) <= v <= (3, 13) or sys.exit(f"Python 3.11, 3.12 or 3.13 is needed; $(PYTHON) is {v[0]}.{v[1]}. Try: make PYTHON=python3.12 …"); \
	  m in {("Linux", "x86_64"), ("Linux", "aarch64"), ("Darwin", "arm64")} or sys.exit(f"There is no TensorFlow or PyTorch for {m[0]} on {m[1]}: use 64-bit Linux, macOS on Apple silicon, or Binder.")'
	@test -x $(BIN)/python || { echo "Making the environment $(VENV)"; $(PYTHON) -m venv $(VENV); }
	@echo "Installing PyTorch"
	@$(BIN)/python -m pip install --no-deps --retries 1 --timeout 20 --extra-index-url $(TORCH_CPU) $(TORCH)
	@echo "Installing everything else (a minute or two)"
	@$(BIN)/python -m pip install --quiet -r requirements.lock
	@$(BIN)/python -m pip install --quiet --no-deps -e .
	@# Only a CUDA build of PyTorch brings Triton, which crashes beside TensorFlow.
	@! $(BIN)/python -c 'import triton' 2>/dev/null || $(BIN)/python -m pip uninstall --quiet --yes triton
	@touch $(READY)

# The two commands of the README: `make demo` and `make test`. Each does all of its own set-up.

.DEFAULT_GOAL := help
.PHONY: help setup demo test check lint types agent-types layers soak firmware clean

BIN := .venv/bin
PYTEST := $(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder
READY := .venv/.ready

help:
	@echo "make demo      set everything up and run the demo (ten seconds in words without a terminal)"
	@echo "make test      set everything up, then linters, types, layers and tests"
	@echo "make check     linters, types and layers alone"
	@echo "make soak      the long versions of the tests"
	@echo "make firmware  build the firmware that emulated Picos run (cached outside of this folder)"
	@echo "make clean     delete what the other commands made in this folder, .venv included"

setup: $(READY)

$(READY): pyproject.toml tools/setup.sh tools/setup_env.py $(wildcard boards/*/board.toml)
	@PYTHON="$(PYTHON)" sh tools/setup.sh

demo: $(READY)
	@if [ -t 0 ] && [ -t 1 ]; then exec $(BIN)/guesthouse demo; \
	else exec $(BIN)/guesthouse demo --headless --seconds 10; fi

test: check
	$(PYTEST)

check: lint types agent-types layers

lint: $(READY)
	$(BIN)/ruff check .

types: $(READY)
	$(BIN)/mypy

agent-types: $(READY)
	$(BIN)/python tools/check_agent.py

layers: $(READY)
	$(BIN)/lint-imports --no-cache --no-logo

soak: $(READY)
	$(PYTEST) -m "soak or not soak"

firmware: $(READY)
	$(BIN)/python tools/firmware.py

clean:
	rm -rf .venv build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find agent host tests tools -name __pycache__ -type d -prune -exec rm -rf {} +

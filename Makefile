# One command per habit. Every target makes .venv first where it is missing or pyproject.toml has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo test fault lint bench soak clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

demo: $(READY)  ## make demo ARGS="--json"
	@$(BIN)/streamlearn demo $(ARGS)

test: $(READY)  ## make test ARGS="tests/unit -k buffer"
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

fault: $(READY)  ## kills, frozen learners, broken disks and brokers, on Apache Kafka where there is one
	$(BIN)/python -m pytest -n 2 --dist loadfile tests/fault $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(READY)
	$(BIN)/python -m benchmarks.updater
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.takeover
	$(BIN)/python -m benchmarks.demo

soak: $(READY)  ## a million events; minutes
	$(BIN)/python -m benchmarks.soak

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache demo-output

# One command per habit. Every target makes .venv first where it is missing or pyproject.toml has changed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Without a GPU torch comes as a CPU build from PyTorch's own index: the build that pip takes by default brings 4 GB of
# CUDA. make setup TORCH_INDEX= takes that one all the same.
TORCH_INDEX := $(if $(shell command -v nvidia-smi),,https://download.pytorch.org/whl/cpu)
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: setup demo demo-lm test fault ops lint docs bench learning soak clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(if $(TORCH_INDEX),$(BIN)/python -m pip install --quiet --retries 1 --no-deps --index-url $(TORCH_INDEX) torch==2.13.0 \
	  || echo "no torch from $(TORCH_INDEX): taking the build that pip finds")
	$(BIN)/python -m pip install --quiet torch==2.13.0
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $(READY)

demo: $(READY)  ## make demo ARGS="--json"
	@$(BIN)/streamlearn demo $(ARGS)

demo-lm: $(READY)  ## a language model instead, without labels
	@$(BIN)/streamlearn demo --language-model --output demo-lm-output $(ARGS)

TESTS := tests/integration tests/unit
test: $(READY)  ## make test TESTS=tests/unit ARGS="-k buffer"; the longest files begin first
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "not fault" $(TESTS) $(ARGS)

fault: $(READY)  ## kills, frozen learners, broken disks and brokers, on Apache Kafka where there is one; and both demos
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m fault tests/integration/test_demo.py tests/fault tests/integration $(ARGS)

ops: $(READY)  ## rules, manifests, runbooks and the page, with real Prometheus, Alertmanager and Chromium where they are installed
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder tests/ops/test_incidents.py tests/ops $(ARGS)

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

docs: $(READY)  ## build/docs/index.html; a link that leads nowhere is an error
	$(BIN)/mkdocs build --quiet

bench: $(READY)
	$(BIN)/python -m benchmarks.updater
	$(BIN)/python -m benchmarks.ingest
	$(BIN)/python -m benchmarks.takeover
	$(BIN)/python -m benchmarks.demo

learning: $(READY)  ## streamlearn beside peers, three seeds: hours; it goes on where it was stopped
	$(BIN)/python -m pip install --quiet --editable '.[dev,peers]'
	$(BIN)/python -m benchmarks.learning --keep-experts $(ARGS)

soak: $(READY)  ## a million events; minutes
	$(BIN)/python -m benchmarks.soak

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache demo-output demo-lm-output

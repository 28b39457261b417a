PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
export PATH := $(CURDIR)/$(BIN):$(PATH)

# Two workers with two threads each on two cores: who waits must not spin.
test: export OMP_WAIT_POLICY := PASSIVE
# What waits for minutes is left to .ci/run.
test: MARKS ?= not minutes

.PHONY: install demo repro test tables check clean

install: $(READY)

repro: $(READY)
	python -m dvc repro
	@echo "open reports/index.html; compare runs with: mlflow ui --backend-store-uri sqlite:///mlflow.db"

demo: $(READY)
	mfnet demo

test: $(READY)
	python -m pytest -n 2 --dist loadfile --no-loadscope-reorder -m "$(MARKS)" tests

# Only after a complete run: what it measured goes into README.md and docs/.
tables: $(READY)
	python -m pipeline.document_tables

check: $(READY)
	ruff check .
	ruff format --check .
	mypy

# Compiled once here: where bytecode may not be written (containers), every stage would compile its imports again.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(shell sed -n 's/^uv==//p' requirements.lock)
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python -r requirements.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -e .
	touch $(READY)

clean:
	rm -rf data/raw data/faces data/flow data/*.parquet models reports/aflw2000 reports/attribution.csv \
		reports/curves reports/figures reports/heat reports/index.html reports/per_image reports/scores.json

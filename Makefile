# Everything a newcomer needs: `make demo`, `make test`. Both set themselves up in .venv, nothing is installed elsewhere.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= $(shell for p in python3.13 python3.12 python3.11 python3; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
UV := VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv
# The lock alone decides what is installed: exact versions with their hashes, and no address of an index.
LOCK := $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes \
	--no-emit-index-url --no-emit-find-links --no-header

ARGS ?=

# Tests and benchmarks start hundreds of processes: without .pyc files each would spend a second on compiling packages.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help
help: ## list the targets
	@echo "tidecast: make TARGET"
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

$(BIN)/uv: requirements-dev.lock
	@if [ -z "$(PYTHON)" ]; then \
		echo "tidecast needs Python 3.11 or newer, and found none on PATH (tried python3.13, 3.12, 3.11, python3)." >&2; \
		echo "Install one (Debian: apt-get install python3 python3-venv), or name it: make setup PYTHON=/path/to/python3" >&2; \
		exit 1; fi
	@test -x $(BIN)/python || { echo "· creating $(VENV) with $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@echo "· installing uv"
	@awk '/^uv==/ {on=1} on {print} on && !/\\$$/ {exit}' requirements-dev.lock > $(VENV)/uv.txt
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r $(VENV)/uv.txt
	@touch $@

$(VENV)/.locked: $(BIN)/uv requirements-dev.lock
	@echo "· installing the locked packages (torch brings its CUDA libraries: 7 GB the first time)"
	@$(UV) pip install --require-hashes -r requirements-dev.lock
	@touch $@

$(VENV)/.installed: $(VENV)/.locked pyproject.toml hatch_build.py $(wildcard */compiled/*.[ch] */*/compiled/*.[ch] model_core/compiled/build.py)
	@echo "· compiling the kernels, and installing tidecast, editable"
	@$(UV) pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

.PHONY: setup
setup: $(VENV)/.installed ## install everything into .venv, and stop there
	@echo "· ready: $(BIN)/tidecast --help"

.PHONY: demo
demo: setup ## play the whole story on real data (make demo ARGS="--once --json")
	@$(BIN)/tidecast demo $(ARGS)

.PHONY: lint
lint: setup ## run ruff and mypy
	@echo "· ruff" && $(BIN)/ruff check . && $(BIN)/ruff format --check .
	@echo "· mypy" && $(BIN)/mypy

# Two processes, because a test uses one core; their folders take about the same time. Each prints when it ends.
WITHOUT_SERVICES := $(BIN)/python -m pytest -m "not services and not soak"

.PHONY: check
check: lint ## run lint, types and the tests that need no broker, under 3 minutes
ifeq ($(strip $(ARGS)),)
	@echo "· the tests that need no broker, in two processes"
	@$(MAKE) --no-print-directory --jobs=2 --keep-going --output-sync=target tests-of-core other-tests
else
	@$(WITHOUT_SERVICES) $(ARGS)
endif

.PHONY: tests-of-core other-tests
tests-of-core:
	@$(WITHOUT_SERVICES) tests/core tests/tidy
other-tests:
	@$(WITHOUT_SERVICES) $(filter-out tests/core/ tests/tidy/ tests/golden/ tests/__pycache__/,$(wildcard tests/*/))

.PHONY: test
test: lint ## run lint, types and all tests, on a real Kafka and a real Valkey
	@$(BIN)/python -m pytest -m "not soak" --durations=25 $(ARGS)

.PHONY: soak
soak: setup ## run the tests that take minutes to hours
	@$(BIN)/python -m pytest -m soak --timeout 3600 $(ARGS)

.PHONY: bench
bench: setup ## measure everything into docs/BENCHMARKS.md, 25 minutes (make bench ARGS="--only w1 --quick")
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: prove-deploy
prove-deploy: setup ## try what is in deploy/ on the real programs, into docs/proofs/deploy; needs Linux, Go and apt-get
	@$(BIN)/python -m deploy.prove $(ARGS)

.PHONY: format
format: setup ## let ruff format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

.PHONY: lock
lock: $(BIN)/uv ## resolve requirements*.lock again (LOCK_ARGS="--upgrade" for newer versions)
	@$(LOCK) $(LOCK_ARGS) --output-file requirements.lock
	@$(LOCK) $(LOCK_ARGS) --group dev --constraint requirements.lock --output-file requirements-dev.lock
	@! grep -nE '://|^--(index|find|extra)' requirements*.lock || { echo "an address got into a lock file" >&2; exit 1; }
	@echo "· locked"

.PHONY: sbom
sbom: setup ## write what is installed in production, with hashes, as CycloneDX: dist/tidecast.cdx.json
	@mkdir -p dist
	@$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --output-reproducible --of JSON \
		-o dist/tidecast.cdx.json
	@echo "· dist/tidecast.cdx.json"

.PHONY: kafka-jars
kafka-jars: setup ## resolve Kafka's jars again and write their sha256 sums (after changing KAFKA_VERSION)
	@$(BIN)/python -c "from stream_app.local_services.kafka_jars import write_sums; write_sums()"

.PHONY: clean
clean: ## remove the environment and caches (not .tidecast/, which holds your data)
	@rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis

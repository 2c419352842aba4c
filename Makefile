# Everything a person or CI runs. `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
MPY_SOURCES := $(shell find firmware/vitrine -name '*.py')
# tests run on both cores of the smallest machine we care for
WORKERS ?= 2
COVERED := crypto codec access door

.PHONY: help setup deps demo emulate test test-unit test-system coverage lint format typecheck layers settings settings-check crypto-generate crypto-check crypto32 boards threats bench powercut mpy release homeassistant-check clean

help: ## list the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | sort | awk -F '\t' '{printf "  %-18s %s\n", $$1, $$2}'

setup: $(VENV)/.base ## make .venv with what the demo and the tools need

$(VENV)/.base: pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Vitrine needs Python 3.11 or newer; try: make PYTHON=python3.11 $(MAKECMDGOALS)" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3 -m venv failed; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@echo "setup: installing the tools into $(VENV)" >&2
	@$(PIP) install --constraint requirements.lock --editable .
	@touch $@

$(VENV)/.test: $(VENV)/.base
	@echo "setup: installing the test tools into $(VENV)" >&2
	@$(PIP) install --constraint requirements.lock --upgrade pip==25.3
	@$(PIP) install --constraint requirements.lock --group test
	@touch $@

$(VENV)/.lint: $(VENV)/.test
	@echo "setup: installing the lint tools into $(VENV)" >&2
	@$(PIP) install --constraint requirements.lock --group lint
	@touch $@

$(VENV)/.release: $(VENV)/.base
	@$(PIP) install --constraint requirements.lock --group release
	@touch $@

deps: $(VENV)/.base ## fetch the device's third-party packages into build/deps (falls back with one line)
	@$(BIN)/python -m vitrine_tools.deps

mpy: $(VENV)/.base ## compile the firmware to .mpy for each target, print and bound the sizes
	@$(BIN)/python tools/checks/mpy_sizes.py

demo: $(VENV)/.base ## a phone unlocks an emulated lock over BLE, then five attacks fail
	@$(BIN)/python -m vitrine_tools.demo $(if $(JSON),--json)

emulate: $(VENV)/.base ## one emulated lock that keeps running; keys: o open, c close, x exit button, q quit
	@$(BIN)/vitrine emulate

test: $(VENV)/.test ## all tests: units on both interpreters, then the whole firmware on the emulated board
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile

test-unit: $(VENV)/.test ## pure packages (CPython and MicroPython), drivers, tools
	@$(BIN)/pytest -n $(WORKERS) --dist loadfile --ignore tests/system --ignore tests/attacks --ignore tests/fuzz

test-system: $(VENV)/.test ## the whole firmware on the emulated board: phones, power cuts, attacks, fuzzing
	@$(BIN)/pytest -n $(WORKERS) tests/system tests/attacks tests/fuzz

# without the injection of faults: a minute and a half under the tracer for 2 % of one package
coverage: $(VENV)/.test ## branch coverage of crypto, codec, access and door on CPython: at least 95 % of each
	@mkdir -p build
	@COVERAGE_FILE=build/coverage $(BIN)/pytest -q -n $(WORKERS) --dist loadfile -m "not micropython" --cov-report= --ignore tests/crypto/host_faults.py \
	    $(foreach package,$(COVERED),tests/$(package) --cov=vitrine.$(package))
	@for package in $(COVERED); do \
	    echo "$$package"; \
	    $(BIN)/coverage report --data-file=build/coverage --include="firmware/vitrine/$$package/*" --fail-under=95 || exit 1; \
	done

lint: $(VENV)/.lint ## ruff: rules and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(VENV)/.lint ## let ruff format the code
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

typecheck: $(VENV)/.lint ## basedpyright: firmware against the ESP32 stubs, tools against CPython
	@mkdir -p build && ln -sfn $$($(BIN)/python -c 'import site; print(site.getsitepackages()[0])') build/typeshed
	@$(BIN)/basedpyright --project firmware/pyrightconfig.json
	@$(BIN)/basedpyright --project tools/pyrightconfig.json

layers: $(VENV)/.base ## who may import whom (firmware/README.md)
	@$(BIN)/python tools/checks/layers.py

boards: $(VENV)/.base ## pins, tables, options and frozen files of every lock board
	@$(BIN)/python tools/checks/boards.py
	@$(BIN)/python tools/checks/frozen.py

threats: $(VENV)/.base ## every test that the threat model names exists
	@$(BIN)/python tools/checks/threats.py

settings: $(VENV)/.base ## write the tables of the settings from their schema: the lock's and SPEC.md's
	@$(BIN)/python tools/codegen/settings.py

settings-check: $(VENV)/.base ## fail if a table of the settings has drifted from the schema
	@$(BIN)/python tools/codegen/settings.py --check

crypto-generate: $(VENV)/.base ## write the generated crypto files
	@$(BIN)/python tools/codegen/ed25519_tables.py
	@$(BIN)/python tools/codegen/field_viper.py

crypto-check: $(VENV)/.base ## fail if a generated crypto file has drifted from its generator
	@$(BIN)/python tools/codegen/ed25519_tables.py --check
	@$(BIN)/python tools/codegen/field_viper.py --check

crypto32: $(VENV)/.test ## crypto tests and instruction counts on a 32-bit MicroPython (skipped where it is not to be had)
	@$(BIN)/python tools/checks/crypto32.py

homeassistant-check: $(VENV)/.base ## our discovery messages by Home Assistant's own schemas (an environment of its own; skipped where it is not to be had)
	@$(BIN)/python tools/checks/homeassistant_env.py

powercut: $(VENV)/.test ## cut the power at every flash operation of the scripted lives of journal, ledger, updates and provisioning, and within each (40 minutes)
	@$(BIN)/python tests/powercut/run.py --jobs $(WORKERS)

release: $(VENV)/.release ## bundles, .mpy sets, SBOMs, sizes and sums of this version, reproducibly; KEY=issuer.pem signs them
	@$(BIN)/python tools/release/build.py $(if $(KEY),--key $(KEY))

bench: $(VENV)/.test ## all figures; JSON in build/bench.json
	@$(BIN)/python tools/bench/run.py

clean: ## remove build/ and the emulators' state (not .venv)
	@rm -rf build

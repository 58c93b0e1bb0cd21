# The two commands for newcomers are `make demo` and `make test`; both do all of their own set-up.
# Run as root on Debian. `make help` lists the rest.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

export BASECAST_CHECKOUT := $(CURDIR)
export PYTHONPATH := $(CURDIR)/.collections
export PYTHONDONTWRITEBYTECODE := 1
export ANSIBLE_COLLECTIONS_PATH := $(CURDIR)/.collections
BIN := $(CURDIR)/.venv/bin
PYTEST := $(BIN)/python -m pytest
LAB_HOSTS ?= 4
LAB_OPTIONS ?= --libvirt
EXAMPLE ?= three-tiers

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F':.*## ' '{printf "%-18s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## install what is missing (Debian packages, Python environment)
	@tools/setup

.PHONY: demo
demo: setup ## four hosts, four machines, one host dies: see the whole thing work
	@$(BIN)/python tests/demo/demo.py

.PHONY: test
test: setup ## static checks, unit, browser; of integration, kills and molecule what shows each capability
	@BASECAST_KILLS=1 tools/run-tests lint unit browser integration kills molecule -- -m "not variant"

.PHONY: test-all
test-all: setup ## the same with all variants: single configurations, both modes of each example, Debian guests, twenty kills
	@BASECAST_THOROUGH=1 tools/run-tests lint unit browser integration kills molecule

.PHONY: lint test-unit test-browser test-integration test-kills test-molecule sanity
lint: setup ## static checks: ansible-test sanity, ansible-lint, docs, ruff, mypy
	@tools/run-tests lint
test-unit: setup ## unit tests, with the smaller half of the relay instances
	@tools/run-tests unit
test-browser: setup ## the report in a headless Chromium; pictures in tests/output/browser
	@tools/run-tests browser
test-integration: setup ## tests on lab hosts
	@tools/run-tests integration
test-kills: setup ## the controller killed at 20 random moments of deployments (make test: at one)
	@tools/run-tests kills
test-molecule: setup ## molecule scenarios default and vm_hosts
	@tools/run-tests molecule
sanity: setup
	@tools/run-tests sanity

.PHONY: test-plan
test-plan: setup ## every relay instance through the planner and the checker
	@$(BIN)/python -m tests.plan

.PHONY: test-placement
test-placement: setup ## every placement instance through the filter and the checker
	@$(BIN)/python -m tests.placement

.PHONY: docs
docs: setup ## the documentation site, without a network: .build/docs/html/index.html
	@$(BIN)/python tools/docsite/pictures.py
	@$(BIN)/python tools/docsite/build.py

.PHONY: demo-recording
demo-recording: setup ## docs/samples/demo.cast and demo.svg again, of a run of the demo
	@$(BIN)/python tests/demo/recording.py

.PHONY: docs-sample
docs-sample: setup ## docs/samples/report.html again, of a run on lab hosts
	@$(BIN)/python tests/demo/sample_report.py

.PHONY: bench
bench: ## the relay against its peers: BENCH=quick, BENCH="hosts8 sites", TOOLS="relay rsync" (docs/bench.md)
	@tools/setup --bench
	@$(BIN)/python -m tests.bench $(BENCH) --tools "$(TOOLS)"

.PHONY: lab-up lab-down
lab-up: setup ## a lab of LAB_HOSTS hosts that stays up (LAB_OPTIONS: --libvirt and more, see docs/lab.md)
	@tests/lab/lab up --hosts $(LAB_HOSTS) $(LAB_OPTIONS)
lab-down: setup ## end it
	@tests/lab/lab down

.PHONY: example example-down
example: setup ## docs/examples/EXAMPLE (three-tiers) on a lab of its own, and again after you have changed it
	@lab="tests/lab/lab --name example"
	$$lab status >/dev/null 2>&1 || { $$lab up --hosts 3 --libvirt; $$lab put kvm1 "$$(tests/lab/image tiny)" /var/lib/libvirt/images/images/tiny.qcow2; }
	$$lab playbook basecast.fleet.deploy -e manifest=docs/examples/$(EXAMPLE)/shop.yml
example-down: setup ## end its lab
	@tests/lab/lab --name example down

.PHONY: clean
clean: ## remove what was built in this checkout (caches elsewhere stay)
	@rm -rf .build .collections .venv .venv-plot .mypy_cache .ruff_cache .pytest_cache .hypothesis tests/output dist

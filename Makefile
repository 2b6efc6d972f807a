# `make help` lists what there is. The first target that needs Python makes .venv; nothing is installed outside it
# except, as root on Debian, Python's own venv module and the servers for `make test`.

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
SHELL := /bin/sh

VENV := .venv
# An application in which every kind of node stands, for the simulation.
EVERY_NODE := tests.simulation.every_node --own west
# And one of services alone, which react to each other's facts.
FLOWS := tests.simulation.flows --own money --own house --own printer --own office --own mails
BIN := $(VENV)/bin
WORKERS ?= 4
SERVERS := $(BIN)/python tests/servers.py --
PYTEST := $(BIN)/pytest --strict-config
# What has a target of its own is no part of `make test`.
EVERY_DAY := not long and not nightly and not cross
BEFORE_A_MERGE := not nightly and not cross
# The suite starts hundreds of processes: without bytecode on the disk each would compile everything again.
unexport PYTHONDONTWRITEBYTECODE
# A newer setting of the dependencies makes the stamps stale; anything else leaves the second run instant.
MADE_FROM := pyproject.toml framework/choros/version.py

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-18s %s\n", $$1, $$2 }' Makefile

demo: $(VENV)/.demo$(if $(findstring --postgres,$(ARGS)),-postgres) ## run the shop in one process: no broker, no Docker (ARGS="--orders file.csv", ARGS=--postgres)
	$(BIN)/choros demo $(ARGS)

test: $(VENV)/.dev ## the suite, beside a private RabbitMQ, Redis and PostgreSQL
	$(SERVERS) $(PYTEST) -n $(WORKERS) --dist worksteal -m "$(EVERY_DAY)" $(ARGS)

test-long: $(VENV)/.dev ## the rest of the suite: what takes too long for every day
	$(SERVERS) $(PYTEST) -n $(WORKERS) --dist worksteal -m "long and not nightly" $(ARGS)

test-merge: $(VENV)/.dev ## both in one, as before a merge: each worker reads the suite once
	$(SERVERS) $(PYTEST) -n $(WORKERS) --dist worksteal -m "$(BEFORE_A_MERGE)" $(ARGS)

test-nightly: $(VENV)/.dev ## what takes longer than a merge may wait for
	$(SERVERS) $(PYTEST) -n $(WORKERS) --dist worksteal -m nightly $(ARGS)

test-cross: $(VENV)/.dev ## every interleaving of nodes in nodes, under every budget: up to an hour
	$(PYTEST) -n 2 -m cross $(ARGS)

test-loaded: $(VENV)/.dev ## `make test` beside two busy loops and a disk writer: no test may depend on a quiet machine
	$(BIN)/python tests/loaded.py -- $(MAKE) test

test-versions: ## the suite and a minute of chaos on other versions, as root on Debian (ARGS="trixie forky 3.12")
	.ci/versions $(ARGS)

# What is pure, and the stores in memory and on SQLite; not what tries every case or many random ones, nor what needs
# SQLAlchemy or FastAPI: to import them takes as long as hundreds of tests.
FAST := $(addprefix tests/,app desk facts messages reference saga store telemetry wire)
EXHAUSTIVE := tests/store/test_agreement.py tests/wire/test_envelope_fuzz.py tests/messages/test_reading_fuzz.py \
  tests/wire/test_keys_ids.py
DEAR := $(wildcard tests/store/test_sqlalchemy_*.py) tests/store/test_sql_databases.py \
  $(wildcard tests/reference/test_order_http*.py) tests/reference/test_books.py tests/reference/test_shipping.py

# Two workers: each has everything to import.
test-fast: $(VENV)/.dev ## the pure parts of the suite, and the stores without a server: seconds
	$(PYTEST) -n 2 -m "not servers and not slow and $(EVERY_DAY)" $(FAST) $(patsubst %,--ignore=%,$(EXHAUSTIVE) $(DEAR)) $(ARGS)

check: $(VENV)/.dev ## style, types, architecture, budgets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tests/budgets.py
	$(BIN)/yamllint --strict .yamllint.yaml deploy .github
	$(BIN)/check-jsonschema --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yml

verify: $(VENV)/.dev ## every interleaving of the order saga, each rule taken out, every combination of outcomes
	$(BIN)/choros verify reference_services.order --mutants --real-code $(ARGS)

simulate: $(VENV)/.dev ## the order application, and one of every node, under 10,000 seeds each in a simulated world
	$(BIN)/choros sim run reference_services.order --campaigns 10000 $(ARGS)
	$(BIN)/choros sim run $(EVERY_NODE) --campaigns 10000 $(ARGS)

simulate-flows: $(VENV)/.dev ## flows that nobody orchestrates: their services' own handlers, and on frames
	$(BIN)/choros sim run $(FLOWS) --campaigns 10000 $(ARGS)
	$(BIN)/choros sim run $(FLOWS) --frames --campaigns 1000 $(ARGS)

simulate-frames: $(VENV)/.dev ## the same with the RabbitMQ adapter and its client, on a simulated broker that speaks AMQP
	$(BIN)/choros sim run reference_services.order --frames --campaigns 10000 $(ARGS)
	$(BIN)/choros sim run $(EVERY_NODE) --frames --campaigns 10000 $(ARGS)

chaos: $(VENV)/.dev ## kill, cut, fill and empty real processes for 15 minutes (ARGS="--minutes 3", ARGS=--cluster, --postgres, --flows)
	$(BIN)/python -m tests.chaos $(ARGS)

mutate: $(VENV)/.dev ## whether a test notices each small change of saga/ and the barrier (ARGS="--since HEAD~1")
	$(BIN)/python tests/mutation/run.py $(ARGS)

reliability-report: $(VENV)/.dev ## measure what has not been measured here, and write docs/reliability-report.md
	$(BIN)/python -m tests.reliability $(ARGS)

bench: $(VENV)/.dev ## sagas per second beside the floor of the broker itself
	$(SERVERS) $(BIN)/python benchmarks/run.py $(ARGS)

bench-stages: $(VENV)/.dev ## what one saga costs, stage by stage (ARGS="--only frames --rounds 9")
	$(SERVERS) $(BIN)/python -m benchmarks.stages $(ARGS)

bench-local: $(VENV)/.dev ## what a local step costs beside a commanded one
	$(SERVERS) $(BIN)/python -m benchmarks.local_step $(ARGS)

bench-subscribing: $(VENV)/.dev ## what a fact costs its subscriber: singly, in batches, filtered (ARGS="--rounds 2 --facts 1000")
	$(SERVERS) $(BIN)/python -m benchmarks.subscribing $(ARGS)

bench-fan-out: $(VENV)/.dev ## what a fact costs with up to 200 subscribers (ARGS="--subscribers 1,20 --facts 10 --rounds 1")
	$(SERVERS) $(BIN)/python -m benchmarks.fan_out $(ARGS)

bench-bad-subscribers: $(VENV)/.dev ## sagas a second beside a stopped, a full and a failing subscriber (ARGS="--rounds 2 --sagas 100")
	$(SERVERS) $(BIN)/python -m benchmarks.bad_subscribers $(ARGS)

bench-growth: $(VENV)/.dev ## the rate with 1,000,000 stored sagas, and what 100,000 cost that sleep (ARGS="--sagas 20000")
	$(SERVERS) $(BIN)/python -m benchmarks.stored $(ARGS)

bench-waiting: $(VENV)/.dev ## what 100,000 sagas cost that wait to be told something (ARGS="--sagas 2000 --rounds 1 --told 50")
	$(BIN)/python -m benchmarks.waiting $(ARGS)

bench-length: $(VENV)/.dev ## what a step costs in a saga of 200, and an item of 10,000 (ARGS="--steps 600 --rounds 1")
	$(BIN)/python -m benchmarks.length $(ARGS)

bench-soak: $(VENV)/.dev ## the memory of an orchestrator and a participant over 1,000,000 sagas (ARGS="--sagas 20000")
	$(SERVERS) $(BIN)/python -m benchmarks.soak $(ARGS)

growth: $(VENV)/.dev ## bytes that sagas leave behind with retention on, and what looks cost in a store of 200,000
	$(SERVERS) $(BIN)/python -m benchmarks.growth $(ARGS)
	$(SERVERS) $(BIN)/python -m benchmarks.growth_of_services

clean: ## remove what was made here, .venv included
	rm -rf $(VENV) .choros .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis .coverage build dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(BIN)/python:
	@./.ci/venv $(VENV)

$(VENV)/.demo $(VENV)/.demo-postgres: $(MADE_FROM) | $(BIN)/python
	@echo "Installing choros, and what the demo needs, into $(VENV): half a minute or less, once ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[$(@:$(VENV)/.%=%)]'
	@touch $@

$(VENV)/.dev: $(MADE_FROM) | $(BIN)/python
	@echo "Installing choros, and what its tests need, into $(VENV): half a minute or so, once ..." >&2
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@ $(VENV)/.demo $(VENV)/.demo-postgres

.PHONY: help demo test test-long test-merge test-nightly test-cross test-loaded test-fast test-versions check verify simulate simulate-flows simulate-frames chaos mutate reliability-report bench bench-stages bench-local bench-subscribing bench-fan-out bench-bad-subscribers bench-growth bench-length bench-waiting bench-soak growth clean

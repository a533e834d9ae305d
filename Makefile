# make help     these lines
# make setup    virtual environment in .venv with everything that tests and demo need; EXTRAS=a,b: other dependency groups
# make demo     train an agent in two minutes and compare it with the expert and the rules: two tables, two plots
# make test     the whole test suite, in TEST_PROCESSES processes
# make lint     style and types
# make pages    rewrite docs/scenarios.md, docs/results.md and docs/suite.md from the scenarios, the stored census and the stored results
# make docs     the documentation's site, in site/; any warning is an error
# make release  sdist and wheel in dist/, checked and run in empty environments, and a tag with notes from CHANGELOG.md

PYTHON ?= $(firstword $(foreach name,python3.11 python3 python3.12 python3.13,$(shell command -v $(name))))
PIP_ARGS ?=
EXTRAS ?= train,datasets,report,docs,dev
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
COMMA := ,

TEST_PROCESSES ?= 2
DEMO_STEPS ?= 250000
DEMO_EPISODES ?= 20
DEMO_CHAT_POLICIES := ppo-admit=runs/demo dftsp exact slo-threshold bid-price fcfs edf sjf least-footprint random
DEMO_POLICIES := dftsp es-value:balanced lookahead static-batching no-batching fcfs edf sjf least-footprint random

.PHONY: help setup demo test lint pages docs release

help:
	@sed -n 's/^# //p' Makefile

setup: $(STAMP)

$(STAMP): pyproject.toml constraints.txt
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "error: Python 3.11 or newer is needed; name it with make PYTHON=/path/to/python3 ..." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV), which takes a few minutes the first time ..."
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) 'pip>=25.1' # the first that knows groups
	@$(BIN)/python -m pip install -qq --disable-pip-version-check $(PIP_ARGS) -e . -c constraints.txt \
		$(addprefix --group ,$(subst $(COMMA), ,$(EXTRAS)))
	@touch $@

demo: setup
	@rm -rf runs/demo
	@echo "Training an agent for $(DEMO_STEPS) slots in 'chat' (the first run on a machine also compiles for a minute) ..."
	@$(BIN)/python -m experiments train --scenario chat --agent ppo-admit --steps $(DEMO_STEPS) --seed 0 --out runs/demo
	@$(BIN)/python -m experiments compare --scenario chat --policies $(DEMO_CHAT_POLICIES) \
		--episodes $(DEMO_EPISODES) --seed 0 --out results/demo-chat
	@echo "The same on the paper's kind of node, 'balanced', with an agent that comes with the project ..."
	@$(BIN)/python -m experiments compare --scenario balanced --policies $(DEMO_POLICIES) \
		--episodes $(DEMO_EPISODES) --seed 0 --out results/demo

test: setup
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses $(TEST_PROCESSES) --dist loadfile

lint: setup
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

pages: setup
	@$(BIN)/python -m experiments scenario-pages
	@$(BIN)/python -m experiments results-page
	@$(BIN)/python -m experiments suite

docs: setup
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

release: setup
	@PYTHON=$(BIN)/python .ci/release

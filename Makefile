# Every target works on a machine that has Python >= 3.11 (with pip and venv) and make, and nothing else: the first
# one makes an environment in .venv, and makes it again when what it is made of changes.

VENV ?= .venv
PY := $(VENV)/bin/python

# Versions to install over those that development has.
OVER ?=

# The interpreter of the environment: `make PYTHON=/path/to/python3.12`, or the first of these that is new enough.
ifeq ($(origin PYTHON),undefined)
PYTHONS := python3 python3.13 python3.12 python3.11 python3.14 python
else
PYTHONS := $(PYTHON)
endif

# How long a soak takes.
SECONDS := $(if $(filter command line,$(origin SECONDS)),$(SECONDS),600)

# Processes that run tests: `make test JOBS=4`. More arguments for pytest, the benchmarks, …: `make test ARGS="-k names"`.
JOBS ?= auto
PYTEST := $(PY) -m pytest -n $(JOBS) --maxprocesses=8 --dist=loadgroup

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.SUFFIXES:
.PHONY: help demo test test-faults test-oldest test-optimized lint format types bench soak docs links screenshots requirements clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1#\2/p' Makefile | awk -F '#' '{ printf "%-20s %s\n", $$1, $$2 }'

# `exec`, so that a signal to make reaches the demo itself and not a shell around it.
demo: $(VENV)/ready ## two servers, two workers, an embedded Valkey; CHECK=1 tries it with real clients and exits 0 or 1
	@exec $(PY) -m sandbox $(if $(filter-out 0,$(CHECK)),--check) $(ARGS) </dev/null

test: $(VENV)/ready ## the suite, in parallel, on servers that it starts itself
	exec $(PYTEST) -m "not faults" $(ARGS) </dev/null

# From the first such test on, finding none is an error (pytest's exit status 5).
test-faults: $(VENV)/ready ## the fault tests that take over 10 seconds each
	@if grep -rq "mark\.faults" tests; then set -x; exec $(PYTEST) -m faults $(ARGS) </dev/null; \
	else echo "No test is marked as a fault test yet."; fi

test-oldest: ## the suite, with the oldest versions of what the library uses
	@$(MAKE) test VENV=.venv-oldest OVER=requirements/oldest.txt

# Pytest makes statements of the assertions in tests, which Python leaves; it warns that it cannot do so everywhere.
test-optimized: $(VENV)/ready ## the suite under python -O, which removes the assertions
	PYTHONOPTIMIZE=1 exec $(PYTEST) -m "not faults" \
	    -W "ignore:assertions not in test modules:pytest.PytestConfigWarning" $(ARGS) </dev/null

lint: $(VENV)/ready ## style, format and the import rule; changes nothing
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(VENV)/bin/lint-imports

format: $(VENV)/ready ## put files into the format, and repair what ruff can
	$(PY) -m ruff check --fix
	$(PY) -m ruff format

types: $(VENV)/ready ## strict mypy over everything
	$(PY) -m mypy $(wildcard src tests sandbox benchmarks examples)

bench: $(VENV)/ready ## measure, side by side with what people use today
	exec $(PY) -m benchmarks $(ARGS) </dev/null

soak: $(VENV)/ready ## sockets come and go at full speed for ten minutes, and memory must not grow; SECONDS=30 for a short one
	exec $(PY) -m benchmarks.soak --seconds $(SECONDS) $(ARGS) </dev/null

docs: $(VENV)/ready ## the documentation, in site/; a warning is an error
	NO_MKDOCS_2_WARNING=1 $(PY) -W error -m mkdocs build --strict

links: $(VENV)/ready ## ask each link of the documentation to another site; needs a network
	$(PY) -m tests.docs.links

screenshots: $(VENV)/ready ## the pictures of the documentation, in docs/images/; needs chromium
	SANDBOX_SCREENSHOTS=docs/images FAST_CHANNELS_SCREENSHOTS=1 exec $(PY) -m pytest -n 0 \
	    tests/sandbox/browser/test_screenshots.py tests/sandbox/browser/test_deaths.py tests/docs/test_in_browser.py \
	    $(ARGS) </dev/null

PIN := $(PY) -m uv --quiet pip compile --universal --python-version 3.11 --upgrade --no-emit-index-url --no-annotate \
    --custom-compile-command "make requirements" pyproject.toml

requirements: $(VENV)/ready ## pin again what development installs, at the newest versions
	$(PY) -m pip install -qq uv
	$(PIN) --all-extras requirements/dev.in -o requirements/dev.txt
	$(PIN) --extra redis requirements/oldest.in -o requirements/oldest.txt --resolution lowest-direct
	$(PIN) --extra redis requirements/arq.in -o requirements/arq.txt

clean: ## remove everything that make made, the environment too
	rm -rf $(VENV) .venv-oldest .venv-arq build dist site .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The environment

$(VENV)/made:
	@for python in $(PYTHONS); do \
	    if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "Making an environment in $(VENV) with $$("$$python" --version)"; \
	        "$$python" -m venv --clear $(VENV) && touch $@; \
	        exit; \
	    fi; \
	done; \
	echo "Python 3.11 or newer is needed, and none of these is: $(PYTHONS). Name one: make PYTHON=/path/to/python3.12" >&2; \
	exit 1

$(VENV)/ready: requirements/dev.txt $(OVER) pyproject.toml $(VENV)/made
	@echo "Installing into $(VENV): the first time, this takes a minute or two"
	@$(PY) -m pip install -qq --disable-pip-version-check -r requirements/dev.txt </dev/null
	@$(PY) -m pip install -qq --disable-pip-version-check --no-build-isolation -e ".[redis,cli]" </dev/null
	@$(if $(OVER),$(PY) -m pip install -qq --disable-pip-version-check -r $(OVER) </dev/null)
	@touch $@

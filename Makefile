# wattshed: the daily commands. Everything lives in .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
ARGS   ?=
VERSION = $(shell sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
WORKERS ?= 3
export PIP_DISABLE_PIP_VERSION_CHECK = 1
# Byte code is kept: else every process that the suite starts would compile what it imports anew, and every worker all tests.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run test warm lint docs pictures bench bench-all peers site packages lock clean

help:            ## this list
	@sed -n 's/^\([a-z-]*\):.*##/\1\t/p' $(MAKEFILE_LIST)

# Python compiles what is imported, when it is imported: all that is installed would take longer than installing it.
run: $(VENV)/.run            ## set up, then run the daemon, simulated without a driver (flags: make run ARGS="--for 20")
	@$(BIN)/wattshed run --meter auto $(ARGS)

# The linters keep one core busy, and the compiler of the kernels another.
test: $(VENV)/.test $(VENV)/.peers            ## set up, compile the kernels once, then the whole test suite
	@$(MAKE) --no-print-directory --jobs 2 lint warm
	$(BIN)/python -m pytest -n $(WORKERS) --no-loadscope-reorder $(ARGS)

warm: $(VENV)/.test
	$(BIN)/python -m tests.compiled
	$(BIN)/wattshed warm

lint: $(VENV)/.test            ## ruff, mypy --strict, import contracts
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

docs: $(VENV)/.test            ## regenerate references, dashboards, golden pages, what tutorials show, and the chart's version
	$(BIN)/wattshed config --markdown > docs/configuration.md
	$(BIN)/python -m wattshed.exporters.formats.reference > docs/metrics.md
	$(BIN)/python -m tests.fleet.write_docs
	$(BIN)/python -m tests.traces.write_docs
	$(BIN)/python -m tests.bench.write_docs
	$(BIN)/python -m tests.library.write_docs
	$(BIN)/python -m tests.accounts.coverage
	$(BIN)/python -m tests.exporters.write_golden
	$(BIN)/python deploy/grafana/generate.py
	sed -i 's/^\(version\|appVersion\): .*/\1: $(VERSION)/' deploy/kubernetes/wattshed/Chart.yaml
	$(BIN)/python -m tests.command_reference
	$(BIN)/python -m tests.tutorials

pictures: $(VENV)/.test            ## take the pictures of docs/images anew, from a simulated node and fleet (a minute; needs chromium)
	$(BIN)/python -m tests.pictures.make $(ARGS)
	$(BIN)/python -m tests.library.notebook

bench: $(VENV)/.test            ## the kernels against memory bandwidth, numpy, polars and duckdb
	$(BIN)/wattshed bench $(ARGS)

bench-all: $(VENV)/.test $(VENV)/.peers            ## every benchmark on an idle machine, into docs/ (twenty minutes on two cores)
	$(BIN)/python -m tests.bench.run_all $(ARGS)

peers: $(VENV)/.test $(VENV)/.peers            ## measure with wattshed and its peers (wattshed bench accuracy); renew docs/accuracy.md
	PYTHONPATH=$(abspath $(VENV)/peers) $(BIN)/python -m tests.peers.renew $(ARGS)

site: $(VENV)/.test            ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --config-file deploy/docs/mkdocs.yml

packages: $(VENV)/.test            ## source archive, wheels, deb, rpm, Helm chart and their SHA256SUMS, into dist/
	rm -rf dist
	$(BIN)/python -m deploy.packages.build --out dist

lock:            ## resolve pyproject.toml into requirements/*.lock, with hashes
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --group build -o requirements/run.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml \
		--extra collect --extra kubernetes --extra otlp --extra top -c requirements/run.lock \
		--no-emit-package llvmlite --no-emit-package numba --no-emit-package tzdata -o requirements/packages.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --group dev \
		--extra bench --extra collect --extra kubernetes --extra otlp --extra plot --extra scale --extra top -c requirements/run.lock -o requirements/test.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header pyproject.toml --extra peers \
		-c requirements/test.lock --no-emit-package amdsmi \
		$$(sed -n 's/^\([a-z0-9-]*\)==.*/--no-emit-package \1/p' requirements/test.lock) -o requirements/peers.lock

clean:            ## remove what the other commands made
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/bin/python:
	@echo "making an environment of its own in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.run: requirements/run.lock pyproject.toml | $(VENV)/bin/python
	@test $(VENV)/.test -nt requirements/run.lock || { \
		echo "installing $$(grep -c == requirements/run.lock) locked packages into $(VENV): 135 MB to download, once"; \
		$(BIN)/pip install --quiet --no-compile --require-hashes -r requirements/run.lock; }
	@$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.test: requirements/test.lock pyproject.toml | $(VENV)/bin/python
	$(BIN)/pip install --quiet --require-hashes -r requirements/test.lock
	$(BIN)/pip install --quiet --no-deps --no-build-isolation --editable .
	touch $@ $(VENV)/.run

# Beside the environment, not in it: what the daemon is tested with must not depend on them.
$(VENV)/.peers: requirements/peers.lock | $(VENV)/bin/python
	rm -rf $(VENV)/peers
	$(BIN)/pip install --quiet --require-hashes --no-deps --target $(VENV)/peers -r requirements/peers.lock
	touch $@

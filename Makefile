# On a machine with only Python (>= 3.11) and make: `make demo`, `make test`. Everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RAY_INSTALLED := $(VENV)/.installed-ray
HF_INSTALLED := $(VENV)/.installed-hf
CLUSTER_INSTALLED := $(VENV)/.installed-cluster

PYTEST := $(BIN)/python -m pytest -q
PARALLEL := -n 2 --dist loadfile --no-loadscope-reorder

.PHONY: demo ui test test-slow test-browser test-ray test-hf test-cluster test-all extras lint clean

demo: $(INSTALLED)        ## 28 real trainings and the scaling law fitted to them, about a minute and a half on two cores
	$(BIN)/flops-fit demo

ui: $(INSTALLED)          ## the same study in Dagster's pages, http://127.0.0.1:3000
	$(BIN)/flops-fit ui

test: $(INSTALLED)        ## what CI runs first, five minutes on two cores
	$(PYTEST) $(PARALLEL) -m "not (slow or long or gpu or ray or browser or cluster)"

test-slow: $(INSTALLED)   ## whole studies, many fits, kills, live pages (also in a headless Chromium where there is one); in CI after `make test`
	$(PYTEST) $(PARALLEL) -m "(slow or browser) and not (long or cluster)"

test-browser: $(INSTALLED)  ## of these, the pages in a headless Chromium alone
	$(PYTEST) -m browser

test-ray: $(RAY_INSTALLED)  ## the same study on a Ray cluster on this machine; in CI beside `make test-hf`
	$(PYTEST) -m ray tests/automation

test-hf: $(HF_INSTALLED)  ## Hugging Face models, by their configurations; in CI beside `make test-ray`
	$(PYTEST) -m hf tests/sizes tests/examples tests/data

test-cluster: $(CLUSTER_INSTALLED)  ## Kubernetes's Jobs, and a study on an S3 server; CI runs it last
	$(PYTEST) -m "cluster and not long" tests/automation tests/storage

extras: $(RAY_INSTALLED) $(HF_INSTALLED) $(CLUSTER_INSTALLED)  ## what `make test-ray`, `test-hf` and `test-cluster` need

test-all: $(INSTALLED) lint
	$(PYTEST) $(PARALLEL)

lint: $(INSTALLED)        ## style and types; in CI beside `make test-slow`
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $@

$(RAY_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,ray]"
	touch $@

$(HF_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,hf]"
	touch $@

$(CLUSTER_INSTALLED): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev,cluster-tests]"
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

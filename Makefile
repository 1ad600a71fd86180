# On a machine with only Python (>= 3.11) and make: `make demo`, `make test`. Everything goes into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
RAY_INSTALLED := $(VENV)/.installed-ray

.PHONY: demo ui test tests test-browser test-ray test-all lint clean

demo: $(INSTALLED)        ## 28 real trainings and the scaling law fitted to them, about a minute and a half on two cores
	$(BIN)/flops-fit demo

ui: $(INSTALLED)          ## the same study in Dagster's pages, http://127.0.0.1:3000
	$(BIN)/flops-fit ui

test: $(INSTALLED)        ## what CI runs first, eleven minutes on two cores: lint beside the tests
	$(MAKE) --no-print-directory --jobs 2 lint tests

tests: $(INSTALLED)       # in three processes, since some of them wait
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -m "not slow and not gpu and not ray and not browser" -q

test-browser: $(INSTALLED)  ## the pages in a headless Chromium, which must be there; what CI runs after `make test`
	$(BIN)/python -m pytest -m browser -q

test-ray: $(RAY_INSTALLED)  ## the same study on a Ray cluster on this machine; what CI runs last
	$(BIN)/python -m pytest -m ray -q

test-all: $(INSTALLED) lint
	$(BIN)/python -m pytest -n 3 --dist loadfile --no-loadscope-reorder -q

lint: $(INSTALLED)
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

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache

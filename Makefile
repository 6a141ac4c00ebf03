# All set-up on a machine with git, make and Python >= 3.11: `make search` searches, `make test` runs the tests.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.PHONY: search test fuzz check docs audit lowest newest wheel clean

search: $(VENV)/installed
	$(BIN)/nas search --budget 100gflops

test: $(VENV)/installed-test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto

# The fuzzers at their full counts, for hours: files and options, and random networks; `make fuzz SEED=7` is another
# course of both.
SEED ?= 1
fuzz: $(VENV)/installed-test
	OMP_NUM_THREADS=1 NAS_FUZZ_EXAMPLES=20000 NAS_FUZZ_SEED=$(SEED) \
		$(BIN)/python -m pytest -n 0 -s tests/fuzz tests/profiler/computed/test_random_networks.py

check: $(VENV)/installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/bandit --quiet --recursive --configfile pyproject.toml nas
	$(BIN)/mypy nas
	$(BIN)/mypy --config-file tests/mypy.ini tests benchmarks examples
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

# The site, in build/site.
docs: $(VENV)/installed-test
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

# The tests with the oldest versions that pyproject.toml admits, and with the newest ones. uv resolves both;
# torch comes in whichever build the package index has, which may be gigabytes.
lowest: UV_FLAGS := --resolution lowest-direct
newest: UV_FLAGS := --resolution highest
lowest newest:
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv
	build/uv/bin/uv venv --quiet --clear --python "$$(command -v $(PYTHON))" build/$@
	build/uv/bin/uv pip install --quiet --python build/$@/bin/python $(UV_FLAGS) -e ".[test]"
	OMP_NUM_THREADS=1 build/$@/bin/python -m pytest -n auto

# Known holes in the packages of constraints.txt; asks a service in the network, so it is no part of `check`.
# A package of which the service knows nothing is a failure: pip-audit would say that no hole is known.
audit:
	$(PYTHON) -m venv build/audit
	build/audit/bin/python -m pip install --quiet --disable-pip-version-check pip-audit
	build/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip

# The wheel alone, in an environment of its own, used from another folder.
wheel: $(VENV)/installed-test
	rm -rf build/wheel && mkdir -p build/wheel
	$(BIN)/python -m build --quiet --wheel --outdir build/wheel
	$(PYTHON) -m venv build/wheel/venv
	build/wheel/venv/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt build/wheel/*.whl
	cd / && $(CURDIR)/build/wheel/venv/bin/nas list

clean:
	rm -rf build dist $(VENV)

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	touch $@

$(VENV)/installed-test: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[test]"
	touch $@ $(VENV)/installed

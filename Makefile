# Every target works on a fresh machine with Python 3.11+, a C compiler and git.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --disable-pip-version-check
# The reference home lies in the working tree, its key file beside it, never inside it.
SEALGATE_HOME ?= $(CURDIR)/.sealgate/home
SEALGATE_KEY_FILE ?= $(CURDIR)/.sealgate/key
# Not for tests: they make homes of their own.
demo serve: export SEALGATE_HOME := $(SEALGATE_HOME)
demo serve: export SEALGATE_KEY_FILE := $(SEALGATE_KEY_FILE)

.PHONY: setup bench-setup bench-data demo serve test test-all soak check docs dist sbom advisories format lock clean

# Serving and the demo need no test tools; setup adds them.
setup: $(VENV)/.dev

$(VENV)/.serving: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

# A torch wheel's digest depends on where it comes from: locked by version, the rest by hash.
$(VENV)/.dev: $(VENV)/.serving requirements-dev.lock
	$(PIP) install --no-deps --require-hashes -r requirements-dev.lock
	$(PIP) install torch==2.13.0
	touch $@

bench-setup: setup
	$(PIP) install -r benchmarks/requirements.txt

# The public data sets of benchmarks/training.py, by pinned digest.
bench-data: setup
	$(BIN)/python benchmarks/training_data.py

demo: $(VENV)/.serving
	$(BIN)/sealgate demo

serve: $(VENV)/.serving
	$(BIN)/sealgate serve

test: setup
	$(BIN)/python -m pytest

test-all: setup
	$(BIN)/python -m pytest -m ""

# Ten thousand requests while workers and zygotes are killed at random; ends by itself.
soak: setup
	$(BIN)/python -m pytest -m slow -o log_cli=true -o log_cli_level=INFO tests/security/test_sandbox_life.py

check: setup docs
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/unit/test_docs.py

# The site, from docs/ alone; a broken link or a page that no menu names fails.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict --config-file .mkdocs.yml

# Wheel and sdist, the same bytes from the same commit.
dist: setup
	rm -rf dist
	SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) $(BIN)/python -m build --no-isolation --outdir dist .
	cd dist && sha256sum sealgate-*

# What serving installs, with licences and who needs whom (CycloneDX); digests stand in the lock file.
sbom: dist
	rm -rf build/serving
	$(PYTHON) -m venv build/serving
	build/serving/bin/python -m pip --quiet --disable-pip-version-check install --require-hashes -r requirements.lock
	build/serving/bin/python -m pip --quiet --disable-pip-version-check install --no-deps dist/sealgate-*.whl
	build/serving/bin/python -m pip --quiet --disable-pip-version-check uninstall --yes pip setuptools
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-format JSON --output-file dist/sealgate.cdx.json build/serving/bin/python

# Known vulnerabilities of what serving installs. Strict: a package that nobody could ask about fails.
advisories: setup
	$(BIN)/pip-audit --strict --requirement requirements.lock --require-hashes --disable-pip

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# Run after editing the dependencies in pyproject.toml.
lock: setup
	$(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host --extra demo --output-file requirements.lock pyproject.toml
	$(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --allow-unsafe --no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(foreach extra,demo anchors aws backup otel pkcs11 postgres,--extra $(extra)) --output-file requirements-image.lock pyproject.toml
	$(BIN)/python -m piptools compile --quiet --generate-hashes --strip-extras --unsafe-package torch --no-emit-index-url --no-emit-find-links --no-emit-trusted-host $(foreach extra,demo anchors aws backup insight otel pkcs11 postgres train dev,--extra $(extra)) --output-file requirements-dev.lock pyproject.toml

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache

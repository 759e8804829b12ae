# `make check` does what CI does. The other targets use the environment in .venv if there is one.
PYTHON := $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

.PHONY: check test lint docs canary versions

check:
	.ci/run

test:
	$(PYTHON) -m pytest

lint:
	$(PYTHON) -m ruff check
	$(PYTHON) -m ruff format --check
	$(PYTHON) -m mypy

docs:
	$(PYTHON) -m mkdocs build --strict

# A fresh environment without constraints: what do new releases of the dependencies break? CANARY_TESTS selects tests.
canary:
	.ci/canary

# Some tests with the lowest versions that pyproject.toml allows, and with the newest.
versions:
	.ci/versions lowest
	.ci/versions newest

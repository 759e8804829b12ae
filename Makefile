# `make check` does what CI does. The other targets use the environment in .venv if there is one.
PYTHON := $(if $(wildcard .venv/bin/python),.venv/bin/python,python3)

.PHONY: check test lint docs

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

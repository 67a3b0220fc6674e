# Each command does all of its own set-up: virtual environment, dependencies, and (as root, where apt is) the
# system packages that a real napari window needs.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types contracts unit screenshots bench clean

demo: $(STAMP)
	$(BIN)/dinoad demo --out demo-output
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		tools/system_packages.sh && $(BIN)/python -m napari_dinoad.gui.open_demo demo-output; \
	else echo "No screen: the picture is demo-output/picture.png"; fi

test: lint types contracts unit

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(STAMP)
	$(BIN)/mypy

contracts: $(STAMP)
	$(BIN)/lint-imports

unit: $(STAMP)
	tools/system_packages.sh
	tools/with_screen.sh $(BIN)/python -m pytest

screenshots: $(STAMP)
	tools/system_packages.sh
	tools/with_screen.sh $(BIN)/python tools/screenshots.py

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) demo-output .mypy_cache .ruff_cache .pytest_cache

# Each command does all of its own set-up: virtual environment, dependencies, and (as root, where apt is) the
# system packages that a real napari window needs.

VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: demo test lint types contracts unit screenshots oldest prerelease clean

demo: $(STAMP)
	$(BIN)/dinoad demo --out demo-output
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ]; then \
		tools/system_packages.sh && $(BIN)/python -m napari_dinoad.gui.open_demo demo-output; \
	else echo "No screen: the pictures are demo-output/patient_*_picture.png"; fi

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
	tools/run_tests.sh $(BIN)/python

screenshots: $(STAMP)
	tools/system_packages.sh
	tools/with_screen.sh $(BIN)/python tools/screenshots.py

# All tests with the oldest versions that pyproject.toml allows, so that its bounds are true. For the oldest Python.
oldest:
	tools/system_packages.sh
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python tools/oldest_versions.py > $(VENV)-oldest/constraints.txt
	$(VENV)-oldest/bin/python -m pip install --quiet --constraint $(VENV)-oldest/constraints.txt --editable ".[test]"
	tools/run_tests.sh $(VENV)-oldest/bin/python

# The plugin against napari's newest pre-release, apart from everything else; it tells, and never fails a build.
prerelease:
	tools/system_packages.sh
	$(PYTHON) -m venv $(VENV)-prerelease
	$(VENV)-prerelease/bin/python -m pip install --quiet --upgrade --pre "napari[pyqt6]" npe2 \
		&& $(VENV)-prerelease/bin/python -m pip install --quiet --editable ".[test]" \
		&& tools/with_screen.sh $(VENV)-prerelease/bin/python -m pytest tests/gui -W default \
		|| echo "napari's pre-release: something is different (see above); nothing is blocked by it."

$(STAMP): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-oldest $(VENV)-prerelease demo-output
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis

"""What pyproject.toml asks for is what the package imports, no more and no less."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROJECT = PYPROJECT["project"]
OF_USERS = ("dask", "dicom-codecs", "itk", "openvino")
READS_OURS = {"npe2"}
"""napari's own, whose version decides what ``napari.yaml`` may hold."""
BROUGHT = {"dask"}
"""By a package that is asked for, which is of no use without."""
OF_TYPE_CHECKERS = {"_typeshed"}
"""Known to type checkers alone: what is imported of it is never run."""


def names_of(requirements):
    return {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in requirements}


OF_THE_WINDOW = ("napari_dinoad.gui", "napari", "qtpy", "pytestqt")


def imported():
    """Return the packages that hold the modules which ours import."""
    modules = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules.update(alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                modules.add(node.module.split(".")[0])
    holders = packages_distributions()
    others = modules - sys.stdlib_module_names - OF_TYPE_CHECKERS - {"napari_dinoad"}
    # Where one is not installed its module has no holder, and mostly the same name.
    return names_of(holder for module in others for holder in holders.get(module, [module]))


def test_all_that_every_installation_brings_is_imported():
    assert names_of(PROJECT["dependencies"]) - imported() - READS_OURS == set()


def test_all_that_is_imported_is_asked_for():
    asked = names_of(PROJECT["dependencies"])
    for extra in OF_USERS:
        asked |= names_of(PROJECT["optional-dependencies"][extra])
    assert imported() - asked - BROUGHT == set()


def test_each_requirement_has_a_lower_bound_also_the_one_that_builds_the_package():
    """Hatchling before 1.27 takes no list of licence files, or writes no licence that PyPI can read."""
    asked = [*PYPROJECT["build-system"]["requires"], *PROJECT["dependencies"]]
    for requirements in PROJECT["optional-dependencies"].values():
        asked += requirements
    assert [text for text in asked if ">=" not in text and not text.startswith(PROJECT["name"])] == []


def test_the_readme_names_the_versions_of_python_that_the_package_claims():
    versions = [text.rpartition(" ")[2] for text in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", text)]
    assert PROJECT["requires-python"] == f">={versions[0]}"
    for page in ("README.md", "docs/napari.md"):
        assert f"Python {versions[0]} to {versions[-1]} " in (ROOT / page).read_text(encoding="utf-8")


def test_only_the_tests_of_the_window_need_it_to_be_collected():
    """Without a Qt binding the tests of the command line and the library run, and those that need one are skipped."""
    found = []
    for path in sorted((ROOT / "tests").rglob("test_*.py")):
        # What stands within a test is imported when it runs.
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            found += [path for name in names if f"{name}.".startswith(tuple(f"{n}." for n in OF_THE_WINDOW))]
    assert [path.name for path in found if ROOT / "tests" / "gui" not in path.parents] == []

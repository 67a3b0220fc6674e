"""What pyproject.toml asks for is what the package imports, no more and no less."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
OF_USERS = ("dask", "dicom-codecs", "itk", "openvino")
READS_OURS = {"npe2"}
"""napari's own, whose version decides what ``napari.yaml`` may hold."""
BROUGHT = {"dask"}
"""By a package that is asked for, which is of no use without."""
OF_TYPE_CHECKERS = {"_typeshed"}
"""Known to type checkers alone: what is imported of it is never run."""


def names_of(requirements):
    return {re.match(r"[\w.-]+", text)[0].lower().replace("_", "-") for text in requirements}


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

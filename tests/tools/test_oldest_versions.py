"""The constraints by which the oldest versions are installed."""

from __future__ import annotations

import tomllib

import pytest

from oldest_versions import PYPROJECT, constraints


def test_every_requirement_of_ours_has_a_lower_bound():
    with PYPROJECT.open("rb") as stream:
        project = tomllib.load(stream)["project"]
    found = constraints(project)
    assert len(found) == len({name.lower() for name in found})
    assert {"torch", "napari", "SimpleITK", "openvino", "pytest"} <= set(found)
    torch = next(text for text in project["dependencies"] if text.startswith("torch>="))
    assert found["torch"] == torch.replace(">=", "==") + ".*"


def test_own_extras_are_followed():
    project = {
        "name": "mine",
        "dependencies": ["numpy>=2.0"],
        "optional-dependencies": {"test": ["mine[gui]", "pytest>=9.0"], "gui": ["napari[pyqt6]>=0.8"]},
    }
    assert constraints(project) == {
        "numpy": "numpy==2.0.*",
        "pytest": "pytest==9.0.*",
        "napari": "napari==0.8.*",
    }


@pytest.mark.parametrize("requirement", ["numpy", "numpy<3", "numpy>=2.0,<3"])
def test_what_has_no_lower_bound_alone_is_refused(requirement):
    project = {"name": "mine", "dependencies": [requirement], "optional-dependencies": {"test": []}}
    with pytest.raises(ValueError, match=f"{requirement}: expected a name and a lower bound"):
        constraints(project)

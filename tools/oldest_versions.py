"""Print pip's constraints for the oldest versions that pyproject.toml allows: ``numpy==2.0.*`` for ``numpy>=2.0``.

``make oldest`` runs the tests with them. Of each bound its newest correction is taken, since the first one may lack
a wheel.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"

EXTRA = "test"
"""The extra that brings all others that are tested."""

_REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<extras>[\w,-]+)\])?(?:>=(?P<bound>[\d.]+))?")


def constraints(project: dict[str, Any], extra: str = EXTRA) -> dict[str, str]:
    """Return the constraint of each package that a project and one of its extras name.

    Parameters
    ----------
    project : dict
        The table ``project`` of a pyproject.toml.
    extra : str
        Of the project's own extras; others that it names are followed.

    Raises
    ------
    ValueError
        If a requirement has no lower bound, or anything but one.
    """
    waiting = [*project["dependencies"], f"{project['name']}[{extra}]"]
    found = {}
    while waiting:
        requirement = waiting.pop()
        match = _REQUIREMENT.fullmatch(requirement)
        if match and match["name"] == project["name"]:
            for name in match["extras"].split(","):
                waiting += project["optional-dependencies"][name]
        elif match and match["bound"]:
            found[match["name"]] = f"{match['name']}=={match['bound']}.*"
        else:
            raise ValueError(f"{requirement}: expected a name and a lower bound alone, as in numpy>=2.0.")
    return found


if __name__ == "__main__":
    with PYPROJECT.open("rb") as stream:
        print(*sorted(constraints(tomllib.load(stream)["project"]).values()), sep="\n")

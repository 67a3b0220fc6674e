"""Names with wildcards, which the shells of Windows hand on as they are."""

from __future__ import annotations

import glob
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["matching"]


def matching(given: Sequence[Path]) -> list[Path]:
    """Return paths, in place of those that are not there the ones that they match (``*``, ``?``, ``[…]``), sorted.

    What matches nothing stays as it is, to be told as missing.
    """
    paths: list[Path] = []
    for path in given:
        found = [] if os.path.lexists(path) else sorted(glob.glob(str(path)))  # noqa: PTH207  (as a whole, also "D:\*")
        paths += map(Path, found) if found else [path]
    return paths

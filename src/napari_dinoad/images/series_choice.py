"""Which scans of a folder are meant by a series: of DICOM, or of files that are named by what they show."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["NOT_CHOSEN", "is_of_series", "meant_by"]

NOT_CHOSEN = "not the series chosen"
"""Why a scan is skipped that is another series than the one wanted."""


class _Named(Protocol):
    @property
    def series_text(self) -> str: ...

    def answers_to(self, wanted: str) -> bool: ...


_Scan = TypeVar("_Scan", bound=_Named)


def meant_by(wanted: str, scans: Sequence[_Scan]) -> list[_Scan]:
    """Return the scans that a user's text means.

    Parameters
    ----------
    wanted : str
        What some of them answer to; else, with ``*`` or ``?`` in it, a pattern of the whole of their text
        (description, or name without ending). Capitals and small letters are alike.
    scans : sequence
        Those to choose from, with ``answers_to`` and ``series_text``.
    """
    exact = [scan for scan in scans if scan.answers_to(wanted)]
    if exact or not re.search(r"[*?]", wanted):
        return exact
    pattern = wanted.strip().casefold().replace("[", "[[]")
    return [scan for scan in scans if fnmatchcase(scan.series_text.casefold(), pattern)]


def is_of_series(name: str, wanted: str) -> bool:
    """Whether a file's name (without ending) is what is wanted, or ends with it after a separator: ``sub-01_T1w``."""
    name, wanted = name.casefold(), wanted.strip().lstrip("-_.").casefold()
    return bool(wanted) and re.search(rf"(?:^|[-_. ]){re.escape(wanted)}$", name) is not None

"""Which scans of a folder are meant by a series: of DICOM, or of files that are named by what they show."""

from __future__ import annotations

import re
from collections import Counter
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["NOT_CHOSEN", "counted", "is_of_series", "meant_by", "series_in_words"]

NOT_CHOSEN = "not the series chosen"
"""Why a scan is skipped that is another series than the one wanted."""

_MOST_TOLD = 8


class _Named(Protocol):
    @property
    def series_texts(self) -> tuple[str, ...]: ...

    @property
    def series_place(self) -> str: ...

    def answers_to(self, wanted: str) -> bool: ...


_Scan = TypeVar("_Scan", bound=_Named)


def meant_by(wanted: str, scans: Sequence[_Scan]) -> list[_Scan]:
    """Return the scans that a user's text means.

    Parameters
    ----------
    wanted : str
        What some of them answer to; else, with ``*`` or ``?`` in it, a pattern of the whole of a text of theirs
        (description, or name without ending; with ``/`` in it also folder and name). Capitals and small letters are
        alike.
    scans : sequence
        Those to choose from.
    """
    exact = [scan for scan in scans if scan.answers_to(wanted)]
    if exact or not re.search(r"[*?]", wanted):
        return exact
    pattern = wanted.strip().casefold().replace("[", "[[]")

    def is_meant(scan: _Scan) -> bool:
        texts = (*scan.series_texts, *((scan.series_place,) if "/" in pattern else ()))
        return any(fnmatchcase(text.casefold(), pattern) for text in texts)

    return [scan for scan in scans if is_meant(scan)]


def is_of_series(name: str, wanted: str) -> bool:
    """Whether a file's name (without ending) is what is wanted, or ends with it after a separator: ``sub-01_T1w``."""
    name, wanted = name.casefold(), wanted.strip().lstrip("-_.").casefold()
    return bool(wanted) and re.search(rf"(?:^|[-_. ]){re.escape(wanted)}$", name) is not None


def counted(names: Iterable[str]) -> tuple[tuple[str, int], ...]:
    """Return names as they are first written, with how often each occurs, most first; capitals make no other name."""
    written: dict[str, str] = {}
    counts = Counter(written.setdefault(name.casefold(), name) for name in names if name)
    return tuple(counts.most_common())


def series_in_words(series: Sequence[tuple[str, int]]) -> str:
    """Return which series, as `counted`, there are to choose from: a sentence to follow on what is missing."""
    if not series:
        return ""
    listed = [f"{name} ({n})" for name, n in series[:_MOST_TOLD]]
    n_more = len(series) - len(listed)
    return f" Series to choose from: {', '.join(listed)}{f' and {n_more} more' if n_more else ''}."

"""The folder that was written into last, by whichever window, and of which scans the files are."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable
    from pathlib import Path

__all__ = ["LastFolder"]


@dataclass
class LastFolder:
    """Shared by the windows of a dock that ask where to write.

    Attributes
    ----------
    path : Path, optional
        None before anything was written.
    """

    path: Path | None = None
    _scans: dict[Path, Hashable] = field(default_factory=dict)

    def note(self, paths: Iterable[Path], scan: Hashable) -> None:
        """Note that files were written of a scan."""
        self._scans |= {path.absolute(): scan for path in paths}

    def is_of_another(self, path: Path, scan: Hashable) -> bool:
        """Whether a file was written here of another scan than this one."""
        return self._scans.get(path.absolute(), scan) != scan

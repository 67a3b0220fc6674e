"""The folder that was written into last, by whichever window."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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

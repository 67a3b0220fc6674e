"""Which frame of a scan of several is read: a volume of a 4D scan, a channel or time point."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.errors import ScanReadError, SeveralFramesError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["require_frame", "told_to_choose"]


def require_frame(path: Path, frame: int | None, n_frames: int, what: str = "") -> None:
    """Raise unless a scan has one frame only, or one of its frames is named.

    Parameters
    ----------
    path : Path
        Names the scan in the message.
    frame : int, optional
        From 0.
    n_frames : int
    what : str
        What its frames are; told in brackets.

    Raises
    ------
    SeveralFramesError
        If there are several, and none is named.
    ScanReadError
        If there is none of this number.
    """
    if frame is None and n_frames > 1:
        told = f" ({what})" if what else ""
        raise SeveralFramesError(f"{path}: a series of {n_frames} frames{told}; {told_to_choose(n_frames)}")
    if frame is not None and not 0 <= frame < n_frames:
        raise ScanReadError(f"{path}: frame: expected 0 to {n_frames - 1}, got {frame}.")


def told_to_choose(n_frames: int) -> str:
    """Return what to do with a scan of several frames where one volume is wanted."""
    # A sentence of its own has the option: windows leave that out.
    return (
        f"expected one volume. Split the series into volumes. Or choose one with --frame 0 to {n_frames - 1}."
    )

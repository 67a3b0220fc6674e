"""Many scans, one after the other: the next one is read meanwhile, where two of them take little memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.scan_file import inspect_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.machine.read_ahead import ReadAhead
    from napari_dinoad.settings import ReadSettings

__all__ = ["MOST_VOXELS", "is_large", "scans_ahead"]

T = TypeVar("T")

MOST_VOXELS = 2**25
"""A scan with more is alone in memory: while one is scored it takes about 15 bytes a voxel, so half a gigabyte."""


def is_large(n_voxels: float) -> bool:
    """Whether a scan is to be alone in memory."""
    return n_voxels > MOST_VOXELS


def scans_ahead(
    reader: ReadAhead, loads: Iterable[tuple[ScanFile, Callable[[], T]]], reading: ReadSettings
) -> Iterator[T | None]:
    """Yield each scan as it is loaded, the next one on the reader's thread while the caller works on this one.

    None stands for a scan that the caller is to load when its turn comes: the first, beside which nothing is done, a
    large one (`MOST_VOXELS`), one after a large one, and one whose header does not tell its size.

    Parameters
    ----------
    reader : ReadAhead
    loads : iterable of (ScanFile, callable)
        The scans, and what loads each. What a callable raises ends the others, too.
    reading : ReadSettings
    """

    def tasks() -> Iterator[Callable[[], T | None]]:
        is_after_small = False
        for scan, load in loads:
            is_small = not is_large(_n_voxels(scan, reading))
            yield load if is_after_small and is_small else _nothing
            is_after_small = is_small

    return reader.results(tasks())


def _nothing() -> None:
    """Stand for what is not loaded ahead."""


def _n_voxels(scan: ScanFile, reading: ReadSettings) -> float:
    """Return the voxels of a scan, of one frame, by its header; infinitely many where that does not tell them."""
    shape = scan.shape
    if not shape:
        try:
            shape = inspect_file(scan.path, reading).shape
        except (ScanReadError, OSError):
            # Told when it is read.
            return math.inf
    return math.prod(shape)

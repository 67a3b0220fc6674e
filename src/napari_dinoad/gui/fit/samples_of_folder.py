"""A look at some scans of a folder: thumbnails, and what they say about their kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import DinoadError
from napari_dinoad.images.preset_guess import ScanLook, look_at, scans_to_look_at
from napari_dinoad.images.values.colours import colour_window
from napari_dinoad.progress import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.gui.work.worker import JobChannel
    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.images.volume import Volume

__all__ = ["SampleJob", "ScanSample"]

THUMBNAIL_PX = 76


@dataclass(frozen=True, eq=False)
class ScanSample:
    """What one scan looks like.

    Attributes
    ----------
    name : str
    picture : numpy.ndarray
        (rows, columns) uint8, its middle slice as a radiologist sees it; (rows, columns, 3) of one in colour.
    words : str
        Size and spacing.
    look : ScanLook
        What it says about its kind.
    """

    name: str
    picture: np.ndarray
    words: str
    look: ScanLook


@dataclass(frozen=True)
class SampleJob:
    """Reads some scans of a folder and delivers a `ScanSample` of each."""

    discovery: Discovery

    def __call__(self, channel: JobChannel) -> None:
        """Read; scans that cannot be read are left to the fit to name."""
        chosen = scans_to_look_at(self.discovery)
        for done, scan in enumerate(chosen):
            channel.progress(ProgressEvent("Looking at some scans", done, len(chosen)))
            try:
                volume = scan.read()
            except DinoadError:
                continue
            channel.deliver(_sample(scan, volume))


def _sample(scan: ScanFile, volume: Volume) -> ScanSample:
    values, geometry = volume.values, volume.geometry
    axis = int(np.argmin(values.shape)) if 1 in values.shape else 0
    of_colours = colour_window(volume)
    shown = values if of_colours is None or volume.colours is None else volume.colours
    middle = np.take(shown, values.shape[axis] // 2, axis=axis)
    window = of_colours or tuple(np.percentile(middle, (1, 99.5)))
    spacing = [step for a, step in enumerate(geometry.spacing) if a != axis]
    lengths = [n * step for n, step in zip(middle.shape[:2], spacing, strict=True)]
    size = " × ".join(str(n) for n in reversed(values.shape) if n > 1)
    steps = " × ".join(
        f"{s:.2g}" for n, s in zip(reversed(values.shape), reversed(geometry.spacing), strict=True) if n > 1
    )
    return ScanSample(
        scan.name or scan.path.name,
        _picture(middle[::-1, ::-1] if geometry.is_physical else middle, lengths, window),
        f"{size}, {steps} mm" if geometry.is_physical else f"{size} pixels",
        look_at(volume, scan.modality),
    )


def _picture(plane: np.ndarray, lengths: Sequence[float], window: tuple[float, float]) -> np.ndarray:
    """Return a slice (rows, columns) or (rows, columns, 3) as a small picture in true proportions."""
    low, high = window
    rows, columns = (max(1, round(THUMBNAIL_PX * length / max(lengths))) for length in lengths)
    row = (np.arange(rows) * plane.shape[0]) // rows
    column = (np.arange(columns) * plane.shape[1]) // columns
    share = np.clip((plane[np.ix_(row, column)] - low) / max(high - low, 1e-12), 0, 1)
    return np.ascontiguousarray((255 * share).astype(np.uint8))

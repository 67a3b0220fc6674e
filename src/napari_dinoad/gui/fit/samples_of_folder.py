"""A look at some scans of a folder: thumbnails, and what kind of scan they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import DinoadError
from napari_dinoad.gui.viewer.grey_limits import CT_AIR_HU
from napari_dinoad.progress import ProgressEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.gui.work.worker import JobChannel
    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.images.volume import Volume

__all__ = ["SampleJob", "ScanSample", "guess_preset"]

N_SAMPLES = 5
"""Scans looked at, spread over the folder."""

THUMBNAIL_PX = 76

_LUNG_HU = (-950.0, -550.0)
"""Values between these inside the field of view are lung, where the air around the patient is not."""

_LUNG_SHARE = 0.06

_HEAD_FIELD_MM = 330.0
"""The field of view of a head CT is smaller than this, that of a trunk larger."""


@dataclass(frozen=True, eq=False)
class ScanSample:
    """What one scan looks like.

    Attributes
    ----------
    name : str
    picture : numpy.ndarray
        (rows, columns) uint8, its middle slice as a radiologist sees it.
    words : str
        Size and spacing.
    is_ct : bool
    lung_share : float
        Of its voxels.
    field_mm : float, optional
        The longer side of a slice.
    modality : str
        Of a DICOM series, else empty.
    """

    name: str
    picture: np.ndarray
    words: str
    is_ct: bool
    lung_share: float
    field_mm: float | None
    modality: str


@dataclass(frozen=True)
class SampleJob:
    """Reads some scans of a folder and delivers a `ScanSample` of each."""

    discovery: Discovery

    def __call__(self, channel: JobChannel) -> None:
        """Read; scans that cannot be read are left to the fit to name."""
        scans = self.discovery.scans
        chosen = np.unique(np.linspace(0, len(scans) - 1, min(N_SAMPLES, len(scans))).round().astype(int))
        for done, index in enumerate(chosen):
            channel.progress(ProgressEvent("Looking at some scans", done, len(chosen)))
            try:
                volume = scans[index].read()
            except DinoadError:
                continue
            channel.deliver(_sample(scans[index], volume))


def _sample(scan: ScanFile, volume: Volume) -> ScanSample:
    values, geometry = volume.values, volume.geometry
    axis = int(np.argmin(values.shape)) if 1 in values.shape else 0
    middle = np.take(values, values.shape[axis] // 2, axis=axis)
    spacing = [step for a, step in enumerate(geometry.spacing) if a != axis]
    coarse = values[:, ::4, ::4] if min(values.shape) > 1 else values
    lung = np.count_nonzero((coarse > _LUNG_HU[0]) & (coarse < _LUNG_HU[1])) / coarse.size
    lengths = [n * step for n, step in zip(middle.shape, spacing, strict=True)]
    size = " × ".join(str(n) for n in reversed(values.shape) if n > 1)
    steps = " × ".join(
        f"{s:.2g}" for n, s in zip(reversed(values.shape), reversed(geometry.spacing), strict=True) if n > 1
    )
    return ScanSample(
        scan.name or scan.path.name,
        _picture(middle[::-1, ::-1] if geometry.is_physical else middle, lengths),
        f"{size}, {steps} mm" if geometry.is_physical else f"{size} pixels",
        bool(coarse.min() <= CT_AIR_HU),
        lung,
        max(lengths) if geometry.is_physical else None,
        "" if scan.series is None else scan.series.modality,
    )


def _picture(plane: np.ndarray, lengths: Sequence[float]) -> np.ndarray:
    """Return a slice (rows, columns) as a small picture in true proportions."""
    low, high = np.percentile(plane, (1, 99.5))
    rows, columns = (max(1, round(THUMBNAIL_PX * length / max(lengths))) for length in lengths)
    row = (np.arange(rows) * plane.shape[0]) // rows
    column = (np.arange(columns) * plane.shape[1]) // columns
    grey = np.clip((plane[np.ix_(row, column)] - low) / max(high - low, 1e-12), 0, 1)
    return np.ascontiguousarray((255 * grey).astype(np.uint8))


def guess_preset(discovery: Discovery, samples: Sequence[ScanSample]) -> tuple[str, str]:
    """Return the preset that suits the scans of a folder, and why, in words."""
    if any(sample.modality == "OPT" for sample in samples):
        return "oct", "the series are OCT"
    if discovery.is_mostly_2d:
        return "image-2d", "most files are 2D images. If they are slices of MR, choose MR of the brain"
    if any(scan.images for scan in discovery.scans):
        return "oct", "folders of 2D slices"
    n_ct = sum(sample.is_ct or sample.modality == "CT" for sample in samples)
    if 2 * n_ct <= len(samples):
        return "mr-brain", "volumes without values of air as in CT"
    fields = [sample.field_mm for sample in samples if sample.field_mm is not None]
    if fields and float(np.median(fields)) < _HEAD_FIELD_MM:
        return "ct-head", f"CT with a field of view of {np.median(fields):.0f} mm"
    lung = float(np.median([sample.lung_share for sample in samples]))
    if lung > _LUNG_SHARE:
        return "ct-chest", f"CT with {100 * lung:.0f} % lung"
    return "ct-abdomen", "CT of the trunk with little lung"

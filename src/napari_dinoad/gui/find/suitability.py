"""Whether a scan suits a model of normal: kind, body part, spacing and plane before, contrast after finding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.gui.viewer.ct_windows import lowest_value
from napari_dinoad.images.thick_slices import thick_axis
from napari_dinoad.images.values.colours import are_coloured
from napari_dinoad.images.values.hounsfield import modality_note
from napari_dinoad.images.values.intensity import CT_AIR_HU
from napari_dinoad.maps.findings import suspicion_words
from napari_dinoad.settings import ANATOMICAL_PLANES

if TYPE_CHECKING:
    from napari_dinoad.gui.find.result import ScanResult
    from napari_dinoad.gui.models.model_library import ModelSummary
    from napari_dinoad.gui.viewer.layer_scan import LayerScan

__all__ = ["ScanTraits", "misfits", "suspicion"]

_SAMPLED_COLOURS = 300_000
"""About so many values tell whether a layer is in colour."""

_HEAD_PRESETS = ("mr-brain", "ct-head")

_HEAD_WIDTHS_MM = (90.0, 330.0)
"""Bodies of normal scans are heads where they are so wide; volumes of other parts are fitted by the preset too."""

_OF_MILLIMETRES = ("mr-brain", "ct-head", "ct-chest", "ct-abdomen")
"""Presets of scans that have a physical size; stacks of pictures, such as B-scans and films, need have none."""

_OF_SLICES_TOO = ("oct", "bmad")
"""Kinds of which slices come one by one as well as together."""

_HEAD_MM = (90.0, 420.0)
"""A field of view in which a whole head lies is larger than the first in every direction, smaller than the second."""


@dataclass(frozen=True)
class ScanTraits:
    """What can be told of a scan at a glance.

    Attributes
    ----------
    shape : tuple of int
        (z, y, x).
    spacing_mm : tuple of float, optional
        (z, y, x); None without physical size.
    lowest : float, optional
        Lowest of a sample of its values; None where they would have to be read first.
    is_coloured : bool
        Whether a sample of its pixels is in colour; so where they would have to be read first.
    """

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float] | None
    lowest: float | None
    is_coloured: bool = False

    @classmethod
    def of(cls, scan: LayerScan) -> ScanTraits:
        """Look at a scan; fast."""
        geometry = scan.source.geometry
        z, y, x = geometry.canonical_shape
        lowest = None if scan.is_rgb else lowest_value(scan.data)
        spacing_mm = geometry.spacing if geometry.is_physical else None
        return cls((z, y, x), spacing_mm, lowest, scan.is_rgb and _is_coloured(scan.data))

    @property
    def is_2d(self) -> bool:
        """Whether it is a single slice."""
        return 1 in self.shape


def _is_coloured(data: Any) -> bool:
    """Whether colours (…, y, x, 3 or 4) are not all grey, by a sample."""
    if not isinstance(data, np.ndarray):
        return True
    step = max(1, round((data.size / _SAMPLED_COLOURS) ** 0.5))
    sample = data[..., ::step, ::step, :3]
    return are_coloured(sample.reshape(-1, *sample.shape[-3:]))


def misfits(model: ModelSummary, scan: ScanTraits) -> list[str]:
    """Return why a model may not suit a scan, one sentence each; empty when nothing speaks against it."""
    reasons = _of_kind(model, scan)
    if not model.is_2d and not scan.is_2d:
        reasons += _of_space(model, scan)
    return reasons


def _of_kind(model: ModelSummary, scan: ScanTraits) -> list[str]:
    reasons = []
    if scan.is_coloured and not model.in_colour:
        reasons.append("This scan is in colour, which the model sees as grey.")
    if model.preset not in _OF_SLICES_TOO and model.is_2d != scan.is_2d:
        reasons.append(
            "The model is of 2D images, this scan is a volume."
            if model.is_2d
            else "The model is of volumes, this scan is a single slice."
        )
    if scan.lowest is not None:
        reasons += filter(None, [modality_note(model.preset, scan.lowest <= CT_AIR_HU, model.reach_air)])
    return reasons


def _of_space(model: ModelSummary, scan: ScanTraits) -> list[str]:
    if scan.spacing_mm is None:
        has_sizes = model.preset in _OF_MILLIMETRES
        return ["This scan has no physical size; the model is of scans in millimetres."] if has_sizes else []
    reasons = []
    lengths = [n * step for n, step in zip(scan.shape, scan.spacing_mm, strict=True)]
    low, high = _HEAD_WIDTHS_MM
    if model.preset in _HEAD_PRESETS and all(low <= width <= high for width in model.widths_mm):
        size = " × ".join(f"{length:.0f}" for length in reversed(lengths))
        if max(lengths) > _HEAD_MM[1]:
            reasons.append(f"The model is of heads, this scan is larger than one ({size} mm).")
        elif max(lengths) < _HEAD_MM[0]:
            reasons.append(
                f"The model is of heads, this scan is smaller than one ({size} mm): is its spacing right?"
            )
    thick = thick_axis(scan.spacing_mm)
    if thick is not None and model.plane in ANATOMICAL_PLANES and model.plane != ANATOMICAL_PLANES[thick]:
        reasons.append(
            f"The model looks at {model.plane} slices, this scan has {ANATOMICAL_PLANES[thick]} ones "
            f"{scan.spacing_mm[thick]:.2g} mm apart: {model.plane} ones are coarse."
        )
    return reasons


def suspicion(result: ScanResult) -> str:
    """Return a warning when so much is unusual that the scan is probably of another kind; else nothing."""
    return suspicion_words(result.anomaly_map(), is_whole=result.is_whole)

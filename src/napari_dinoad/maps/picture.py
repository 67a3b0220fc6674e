"""A picture of a result: the most abnormal slices, the heatmap over them, the mask's outline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from napari_dinoad.files import atomic_path
from napari_dinoad.settings import HEATMAP_LIMITS

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.maps.anomaly_map import AnomalyMask

__all__ = ["save_picture"]

_HEAT_STOPS = np.array(
    [(60, 0, 90), (170, 20, 110), (235, 80, 50), (255, 170, 20), (255, 250, 160)], dtype=np.float32
)
_MASK_COLOUR = (0, 230, 255)
_TRUTH_COLOUR = (60, 255, 60)
_PANEL_PX = 320
_N_SLICES = 4
_BORDER = 2
"""Voxels left around the body."""

_BACKGROUND_SHARE = 0.15
"""Voxels below this share of the brightest are cut away at the picture's edge."""

_MIN_GAP = 0.06
"""Chosen slices lie at least this share of the volume apart."""


def save_picture(path: Path, mask: AnomalyMask, truth: np.ndarray | None = None) -> Path:
    """Write a PNG of the most abnormal slices: the scan; the scan with heatmap and outlines.

    Parameters
    ----------
    path : Path
    mask : AnomalyMask
        Its outline is drawn in cyan.
    truth : numpy.ndarray, optional
        (z, y, x) bool in canonical orientation; its outline is drawn in green.
    """
    view = _View.of(mask)
    low, high = np.percentile(mask.anomaly_map.source.values, (0.5, 99.8))
    rows = [
        _row(mask, truth, view, index, (float(low), float(high)))
        for index in _most_abnormal(mask.anomaly_map.values, view.axis)
    ]
    picture = Image.fromarray(np.concatenate(rows))
    with atomic_path(path) as temporary:
        _with_legend(picture, mask.fpr, truth is not None).save(temporary, format="PNG")
    return path


@dataclass(frozen=True)
class _View:
    """How slices are looked at: across which axis, cut to which part, in true proportions."""

    axis: int
    part: tuple[slice, slice]
    spacing: tuple[float, float]
    is_flipped: bool

    @classmethod
    def of(cls, mask: AnomalyMask) -> _View:
        values, geometry = mask.anomaly_map.source.values, mask.geometry
        axis = values.shape.index(1) if 1 in values.shape else 0
        shadow = values.max(axis=axis) > np.percentile(values, 99.5) * _BACKGROUND_SHARE
        rows, columns = (_extent(shadow.any(axis=other)) if shadow.any() else slice(None) for other in (1, 0))
        spacing = [s for a, s in enumerate(geometry.spacing) if a != axis]
        return cls(axis, (rows, columns), (spacing[0], spacing[1]), geometry.is_physical)

    def show(self, values: np.ndarray, index: int, *, smooth: bool) -> np.ndarray:
        """Return one slice, centred in a square panel."""
        plane = np.take(values, index, axis=self.axis)[self.part].astype(np.float32)
        if self.is_flipped:
            plane = plane[::-1, ::-1]
        lengths = [n * s for n, s in zip(plane.shape, self.spacing, strict=True)]
        rows, columns = (max(1, round(_PANEL_PX * length / max(lengths))) for length in lengths)
        kind = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        zoomed = np.asarray(Image.fromarray(plane).resize((columns, rows), kind))
        panel = np.full((_PANEL_PX, _PANEL_PX), plane.min() if smooth else 0, dtype=np.float32)
        top, left = (_PANEL_PX - rows) // 2, (_PANEL_PX - columns) // 2
        panel[top : top + rows, left : left + columns] = zoomed
        return panel


def _extent(occupied: np.ndarray) -> slice:
    where = np.flatnonzero(occupied)
    return slice(max(0, int(where[0]) - _BORDER), int(where[-1]) + 1 + _BORDER)


def _most_abnormal(neg_log10_p: np.ndarray, axis: int) -> list[int]:
    """Return indices of the slices with the most anomaly, a gap apart, in anatomical order (top first)."""
    others = tuple(a for a in range(3) if a != axis)
    load = np.maximum(neg_log10_p - HEATMAP_LIMITS[0], 0).sum(axis=others)
    gap = max(1, round(_MIN_GAP * len(load)))
    chosen: list[int] = []
    for index in np.argsort(-load, kind="stable"):
        if all(abs(int(index) - other) >= gap for other in chosen):
            chosen.append(int(index))
        if len(chosen) == _N_SLICES:
            break
    return sorted(chosen, reverse=True)


def _row(
    mask: AnomalyMask, truth: np.ndarray | None, view: _View, index: int, window: tuple[float, float]
) -> np.ndarray:
    grey = view.show(mask.anomaly_map.source.values, index, smooth=True)
    grey = np.clip((grey - window[0]) / max(window[1] - window[0], 1e-12), 0, 1)
    plain = np.repeat(grey[..., None] * 255, 3, axis=2)
    overlay = _blend(plain, view.show(mask.anomaly_map.values, index, smooth=True))
    _outline(overlay, view.show(mask.values, index, smooth=False) > 0, _MASK_COLOUR)
    if truth is not None:
        _outline(overlay, view.show(truth, index, smooth=False) > 0, _TRUTH_COLOUR)
    return np.concatenate([plain, overlay], axis=1).astype(np.uint8)


def _blend(plain: np.ndarray, neg_log10_p: np.ndarray) -> np.ndarray:
    low, high = HEATMAP_LIMITS
    share = np.clip((neg_log10_p - low) / (high - low), 0, 1)
    opacity = np.where(neg_log10_p > low, 0.25 + 0.5 * share, 0.0)[..., None]
    return np.asarray(plain * (1 - opacity) + _heat_colour(share) * opacity)


def _heat_colour(share: np.ndarray) -> np.ndarray:
    stops = np.linspace(0, 1, len(_HEAT_STOPS))
    return np.stack([np.interp(share, stops, _HEAT_STOPS[:, c]) for c in range(3)], axis=-1)


def _outline(pixels: np.ndarray, inside: np.ndarray, colour: tuple[int, int, int]) -> None:
    pixels[inside & ~ndimage.binary_erosion(inside)] = colour


def _with_legend(picture: Image.Image, fpr: float, has_truth: bool) -> Image.Image:
    """Return the picture with a strip below it: colour bar, its limits, what the outlines are."""
    strip = Image.new("RGB", (picture.width, 52), (0, 0, 0))
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=12)
    bar = np.repeat(_heat_colour(np.linspace(0, 1, 160))[None], 12, axis=0).astype(np.uint8)
    strip.paste(Image.fromarray(bar), (60, 8))
    low, high = HEATMAP_LIMITS
    draw.text((10, 6), f"p {10**-low:.1g}", (220, 220, 220), font)
    draw.text((226, 6), f"{10**-high:.0e}", (220, 220, 220), font)
    draw.text((10, 28), f"mask: {fpr:g} of normal voxels", _MASK_COLOUR, font)
    if has_truth:
        draw.text((226, 28), "true lesion", _TRUTH_COLOUR, font)
    draw.text((picture.width - 300, 6), "research use only", (150, 150, 150), font)
    whole = Image.new("RGB", (picture.width, picture.height + strip.height))
    whole.paste(picture, (0, 0))
    whole.paste(strip, (0, picture.height))
    return whole

"""A picture of a result: the most abnormal slices, the heatmap over them, the mask's outline."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from napari_dinoad.machine.atomic_files import atomic_path
from napari_dinoad.maps.finding_words import rate_in_words
from napari_dinoad.maps.pictures.panels import (
    MASK_COLOUR,
    TRUTH_COLOUR,
    colour_bar,
    grey_window,
    in_colours,
    overlay_panel,
    scan_panel,
)
from napari_dinoad.maps.pictures.slice_choice import heat_loads, most_abnormal_slices
from napari_dinoad.maps.pictures.slice_view import SliceView
from napari_dinoad.settings import HEATMAP_LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from napari_dinoad.maps.anomaly_map import AnomalyMask

__all__ = ["save_picture"]

_PANEL_PX = 320
_N_SLICES = 4


def save_picture(
    path: Path,
    mask: AnomalyMask,
    truth: np.ndarray | None = None,
    preprocessing: Mapping[str, object] | None = None,
) -> Path:
    """Write a PNG of the most abnormal slices: the scan; the scan with heatmap and outlines.

    Parameters
    ----------
    path : Path
    mask : AnomalyMask
        Its outline is drawn in cyan.
    truth : numpy.ndarray, optional
        (z, y, x) bool in canonical orientation; its outline is drawn in green.
    preprocessing : mapping, optional
        Of the model's card; CT is shown in the model's window.
    """
    volume = mask.anomaly_map.source
    view = SliceView.of(mask.anomaly_map)
    window = grey_window(mask.anomaly_map, preprocessing)
    loads = heat_loads(mask.anomaly_map.values)
    rows = []
    for index in most_abnormal_slices(loads[view.axis], _N_SLICES):
        plain = scan_panel(volume, view, index, _PANEL_PX, window)
        rows.append(
            np.concatenate([in_colours(plain), overlay_panel(plain, mask, view, index, truth)], axis=1)
        )
    picture = Image.fromarray(np.concatenate(rows))
    with atomic_path(path) as temporary:
        _with_legend(picture, mask.fpr, truth is not None).save(temporary, format="PNG")
    return path


def _with_legend(picture: Image.Image, fpr: float, has_truth: bool) -> Image.Image:
    """Return the picture with a strip below it: colour bar, its limits, what the outlines are."""
    strip = Image.new("RGB", (picture.width, 52), (0, 0, 0))
    draw = ImageDraw.Draw(strip)
    font = ImageFont.load_default(size=12)
    strip.paste(colour_bar(160, 12), (60, 8))
    low, high = HEATMAP_LIMITS
    draw.text((10, 6), f"p {rate_in_words(10**-low)}", (220, 220, 220), font)
    draw.text((226, 6), rate_in_words(10**-high), (220, 220, 220), font)
    draw.text((10, 28), f"mask: {rate_in_words(fpr)} of normal voxels", MASK_COLOUR, font)
    if has_truth:
        draw.text((226, 28), "true lesion", TRUTH_COLOUR, font)
    draw.text((picture.width - 300, 6), "research use only", (150, 150, 150), font)
    whole = Image.new("RGB", (picture.width, picture.height + strip.height))
    whole.paste(picture, (0, 0))
    whole.paste(strip, (0, picture.height))
    return whole

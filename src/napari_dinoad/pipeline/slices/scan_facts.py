"""Figures of a scan that tell whether it belongs among the others: size, spacing, body and intensities."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.images.preset_guess import BRIGHT_PERCENTILE
from napari_dinoad.images.values.colours import colourfulness
from napari_dinoad.images.values.hounsfield import reaches_air
from napari_dinoad.images.values.intensity import darkness_note, sample_inside
from napari_dinoad.images.values.percentiles import percentile

if TYPE_CHECKING:
    from napari_dinoad.images.slices import PreparedScan

__all__ = ["PERCENTILES", "scan_facts"]

PERCENTILES = (1, 25, 50, 75, BRIGHT_PERCENTILE)
"""Of the intensities inside the body."""


def scan_facts(prepared: PreparedScan) -> dict[str, Any]:
    """Return JSON values that describe a scan without naming it.

    Returns
    -------
    dict
        ``"shape"`` and ``"spacing"`` (z, y, x; millimetres, or pixels of 1), ``"is_physical"``, ``"n_slices"``
        (those that show the body), ``"body_fraction"`` of the voxels, ``"body_size"`` (its extent along z, y, x, in
        units of spacing), ``"intensity"`` (the `PERCENTILES` inside the body, in the scan's own units), ``"white"``
        (the value that means white, where it has one: `Volume.full_scale`, else None), ``"reaches_air"`` (whether it
        has values of air as CT has), ``"notes"``
        (what its reader had to assume or change, whether it is all but black to the model, and whether the model does
        not see its colours), ``"colour"`` (see `colourfulness`; 0 of grey) and ``"in_colour"``, whether it is seen.
    """
    volume, body = prepared.volume, prepared.body
    geometry = volume.geometry
    spacing = [float(step) for step in geometry.spacing] if geometry.is_physical else [1.0, 1.0, 1.0]
    extent = []
    for axis, step in enumerate(spacing):
        others = tuple(a for a in range(3) if a != axis)
        where = np.flatnonzero(body.any(axis=others))
        extent.append(float(where[-1] - where[0] + 1) * step if where.size else 0.0)
    white = volume.full_scale or float(volume.values.max()) or 1.0
    inside = sample_inside(volume.values, body)
    intensity = [float(percentile(inside, percent)) if inside.size else 0.0 for percent in PERCENTILES]
    return {
        "shape": [int(n) for n in volume.values.shape],
        "spacing": spacing,
        "is_physical": bool(geometry.is_physical),
        "n_slices": len(prepared.indices),
        "body_fraction": float(np.count_nonzero(body) / body.size),
        "body_size": extent,
        "intensity": intensity,
        "white": volume.full_scale,
        "reaches_air": reaches_air(volume.values),
        "notes": [
            *volume.seen(prepared.colour).notes,
            *filter(None, [darkness_note(volume, prepared.intensity)]),
        ],
        "colour": colourfulness(volume.colours, white),
        "in_colour": prepared.colour,
    }

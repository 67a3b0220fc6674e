"""Figures of a scan that tell whether it belongs among the others: size, spacing, body and intensities."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dinoad.images.colours import colourfulness
from napari_dinoad.images.intensity import darkness_note, sample_inside
from napari_dinoad.images.percentiles import percentile
from napari_dinoad.images.scan_kind import BRIGHT_PERCENTILE, brightness_range
from napari_dinoad.images.thick_slices import thick_axis
from napari_dinoad.settings import ANATOMICAL_PLANES, COLOURED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dinoad.images.slices import PreparedScan
    from napari_dinoad.settings import PreprocessingSettings

__all__ = ["PERCENTILES", "coarse_plane_note", "colour_note", "scan_facts", "uneven_brightness_note"]

PERCENTILES = (1, 25, 50, 75, BRIGHT_PERCENTILE)
"""Of the intensities inside the body."""


def scan_facts(prepared: PreparedScan) -> dict[str, Any]:
    """Return JSON values that describe a scan without naming it.

    Returns
    -------
    dict
        ``"shape"`` and ``"spacing"`` (z, y, x; millimetres, or pixels of 1), ``"is_physical"``, ``"n_slices"``
        (those that show the body), ``"body_fraction"`` of the voxels, ``"body_size"`` (its extent along z, y, x, in
        units of spacing), ``"intensity"`` (the `PERCENTILES` inside the body, in the scan's own units), ``"notes"``
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
        "notes": [
            *volume.seen(prepared.colour).notes,
            *filter(None, [darkness_note(volume, prepared.intensity)]),
        ],
        "colour": colourfulness(volume.colours, white),
        "in_colour": prepared.colour,
    }


def coarse_plane_note(facts: Sequence[Mapping[str, Any]], plane: str) -> str:
    """Return a sentence where most scans have thick slices of another plane than they are cut in, or none.

    Parameters
    ----------
    facts : sequence of mapping
        Of each scan; see `scan_facts`.
    plane : str
        In which they are cut.
    """
    if plane not in ANATOMICAL_PLANES:
        return ""
    axes = [thick_axis(one["spacing"]) for one in facts if one["is_physical"] and 1 not in one["shape"]]
    named = Counter(ANATOMICAL_PLANES[axis] for axis in axes if axis is not None)
    (other, n_scans), *_ = [*named.most_common(1), ("", 0)]
    if other == plane or 2 * n_scans <= len(facts):
        return ""
    return (
        f"{n_scans} of {len(facts)} scans have thick {other} slices and are cut in {plane} ones, which are coarse. "
        "Take the slices as they are with --plane acquired."
    )


def colour_note(facts: Sequence[Mapping[str, Any]], preprocessing: PreprocessingSettings) -> str:
    """Return a sentence where most pictures are in colour, which the model does not see, or none.

    Parameters
    ----------
    facts : sequence of mapping
        Of each scan; see `scan_facts`. Embeddings kept from before there was colour tell nothing of it.
    preprocessing : PreprocessingSettings
        By which they are read.
    """
    n_coloured = sum(one.get("colour", 0.0) >= COLOURED for one in facts)
    if preprocessing.colour or 2 * n_coloured <= len(facts):
        return ""
    return (
        f"{n_coloured} of {len(facts)} pictures are in colour and were read as grey. --preset image-colour fits on "
        "their colours."
    )


def uneven_brightness_note(facts: Sequence[Mapping[str, Any]], preprocessing: PreprocessingSettings) -> str:
    """Return a sentence where images that are taken as stored are unlike in brightness, or none.

    Parameters
    ----------
    facts : sequence of mapping
        Of each scan; see `scan_facts`.
    preprocessing : PreprocessingSettings
        By which they are read.
    """
    if preprocessing.preset != "image-2d" or preprocessing.intensity != "as-stored":
        return ""
    uneven = brightness_range([one["intensity"][-1] for one in facts])
    if uneven is None:
        return ""
    dark, bright = uneven
    return (
        f"Brightness is uneven: the brightest tissue has a value of {dark:.3g} or less in a tenth of the images, and "
        f"of {bright:.3g} or more in another. Values are taken as stored; where they have no fixed meaning, as in "
        "slices of MR, --preset mr-slices scales each image by itself and finds more."
    )

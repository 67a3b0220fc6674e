"""What is to be told of a cohort that suits how it is read ill: a sentence each."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from napari_dinoad.images.preset_guess import brightness_range
from napari_dinoad.images.thick_slices import thick_axis
from napari_dinoad.settings import ANATOMICAL_PLANES, COLOURED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from napari_dinoad.settings import PreprocessingSettings

__all__ = ["coarse_plane_note", "colour_note", "uneven_brightness_note"]


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
    # Of 8, 12 or 16 bits, white is 1 to the model.
    uneven = brightness_range([one["intensity"][-1] / (one["white"] or 1.0) for one in facts])
    if uneven is None:
        return ""
    dark, bright = uneven
    return (
        f"Brightness is uneven: the brightest tissue has {100 * dark:.0f} % of white or less in a tenth of the "
        f"images, and {100 * bright:.0f} % or more in another. Values are taken as stored; where they have no fixed "
        "meaning, as in slices of MR, --preset mr-slices scales each image by itself and finds more."
    )

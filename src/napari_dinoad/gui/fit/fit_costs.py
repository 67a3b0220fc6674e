"""What methods and backbones cost and give, in a line each, and how long a fit may take."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

from napari_dinoad.gui.work.remaining_time import duration_in_words
from napari_dinoad.settings import CalibrationSettings

if TYPE_CHECKING:
    from napari_dinoad.backbones.registry import BackboneSpec

__all__ = ["backbone_line", "fit_duration_in_words", "scorer_line", "scorer_title"]

_SCORERS = {
    "dpmm": ("DPMM", "sorts normal patches into kinds; fits in minutes, small model, scores fastest."),
    "ar-cnn": ("AR-CNN", "predicts patches from their surroundings; longest to fit, usually sharpest."),
    "memory-bank": (
        "Memory bank",
        "keeps normal patches to compare with; fits at once, largest model, scores slowest.",
    ),
}

_MS_A_SLICE = {"embedded": 25.0}
"""Milliseconds a slice at the backbone's own resolution on two CPU cores."""

_COLOUR_MS_A_SLICE = {"embedded": 40.0}
"""The same in colour, of backbones that take longer for it; networks always see three channels."""

_MS_A_MEGAPIXEL = 28.0
"""To read a picture or slice and bring it to the size of an input, on one core: 170 ms for a JPEG of 6 megapixels."""

_MS_A_MILLION_WEIGHTS = 19.0
"""The same for vision transformers at 448 px: 0.42 s for the 22 million weights of a ViT-S/14."""

_START_S = 6.0
"""Until a process of its own has loaded what it fits with."""

_UNKNOWN_MS_A_SLICE = 420.0
"""Of a network whose size is known only once it is loaded."""

_MEASURED_CORES = 2

_MAX_CORES = 8
"""More cores than this do not make one slice faster."""

_FIT_MS_A_SLICE = {"dpmm": (10.0, 80.0), "ar-cnn": (50.0, 260.0), "memory-bank": (19.0, 80.0)}
"""Milliseconds a slice of one fit on embeddings at hand, two CPU cores: of 256 patches with 51 channels (embedded),
and of 1,024 patches with 384 channels (ViT-S/14 at 448 px)."""

_FIT_VALUES = (256 * 51, 1024 * 384)
"""Values a slice of these two."""


def scorer_title(name: str) -> str:
    """Return the name of a scorer, or of several joined by ``+``, for people."""
    return " + ".join(_SCORERS[part][0] if part in _SCORERS else part for part in name.split("+"))


def scorer_line(name: str) -> str:
    """Return one line on what a scorer, or several, cost and give."""
    parts = name.split("+")
    if len(parts) == 1:
        return f"{scorer_title(name)}: {_SCORERS[name][1]}"
    return f"{scorer_title(name)}: side by side, combined into one map; takes the time of all, steadier than each."


def backbone_line(spec: BackboneSpec, in_colour: bool = False) -> str:
    """Return one line on what a backbone costs and gives."""
    cost = f"about {duration_in_words_of_slice(spec, in_colour)} a slice on this CPU"
    size = f", {spec.parameters / 1e6:.0f} million weights" if spec.parameters else ""
    licence = f" Licence of the weights: {spec.licence}." if spec.needs_weights else ""
    return f"{spec.name}: {spec.description}{size}; {cost}.{licence}"


def duration_in_words_of_slice(spec: BackboneSpec, in_colour: bool) -> str:
    """Return the time for one slice in words."""
    milliseconds = _ms_a_slice(spec, None, in_colour)
    return f"{milliseconds:.0f} ms" if milliseconds < 1000 else f"{milliseconds / 1000:.1f} s"


def _ms_a_slice(spec: BackboneSpec, resolution_px: int | None, in_colour: bool) -> float:
    own = spec.default_resolution_px
    scale = ((resolution_px or own) / own) ** 2
    known = _COLOUR_MS_A_SLICE if in_colour and spec.name in _COLOUR_MS_A_SLICE else _MS_A_SLICE
    base = known.get(spec.name, _MS_A_MILLION_WEIGHTS * spec.parameters / 1e6 or _UNKNOWN_MS_A_SLICE)
    cores = min(os.cpu_count() or _MEASURED_CORES, _MAX_CORES)
    return base * scale * _MEASURED_CORES / cores


def fit_duration_in_words(
    n_persons: int,
    n_slices: int,
    scorer: str,
    spec: BackboneSpec,
    resolution_px: int | None,
    in_colour: bool = False,
    n_voxels: int = 0,
) -> str:
    """Return how long a fit may take on this CPU, roughly; measured rates scaled by cores and by patches.

    ``n_voxels`` are those of all scans, as they are stored.
    """
    cores = min(os.cpu_count() or _MEASURED_CORES, _MAX_CORES)
    calibration = CalibrationSettings()
    # Of n folds each fit leaves one out, and one fit is of all: n fits' worth.
    fits = calibration.folds if n_persons < calibration.cross_below else 1
    fitting = sum(_fit_ms_a_slice(part, spec, resolution_px, in_colour) for part in scorer.split("+"))
    per_slice = _ms_a_slice(spec, resolution_px, in_colour) + fits * fitting * _MEASURED_CORES / cores
    reading = n_voxels / 1e6 * _MS_A_MEGAPIXEL
    return duration_in_words(_START_S + (n_slices * per_slice + reading) / 1000)


def _fit_ms_a_slice(scorer: str, spec: BackboneSpec, resolution_px: int | None, in_colour: bool) -> float:
    """Return the milliseconds a slice of one fit, between the two measured ones by a power of the values a slice."""
    few, many = _FIT_MS_A_SLICE.get(scorer, _FIT_MS_A_SLICE["ar-cnn"])
    resolution = resolution_px or spec.default_resolution_px
    length = (spec.colour_embedding_dim if in_colour else 0) or spec.embedding_dim
    values = (resolution / spec.patch_size_px) ** 2 * length if length else _FIT_VALUES[1]
    exponent = math.log(many / few) / math.log(_FIT_VALUES[1] / _FIT_VALUES[0])
    return float(few * (values / _FIT_VALUES[0]) ** exponent)

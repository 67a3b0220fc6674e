"""How maps and masks look: their colours, as arguments of napari's layers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import Colormap, CyclicLabelColormap

from napari_dinoad.gui.viewer.layer_marks import (
    is_found_mask,
    is_from_file,
    is_kept_by_plugin,
    mark_copy,
    mark_of_file,
)
from napari_dinoad.gui.viewer.mask_values import without_choice
from napari_dinoad.settings import HEATMAP_LIMITS, HEATMAP_STOPS

if TYPE_CHECKING:
    from napari.layers import Layer

    from napari_dinoad.images.nifti_files import Holding

__all__ = [
    "as_saved_result",
    "finish_look",
    "hand_look",
    "heatmap_look",
    "kinds_look",
    "mask_look",
    "unlike_look",
]

_Colour = tuple[float, float, float, float]

_HEAT = Colormap(
    [colour for _, colour in HEATMAP_STOPS],
    name="dinoad heat",
    display_name="DINOAD heat",
    controls=[place for place, _ in HEATMAP_STOPS],
)

_MASK_COLOUR = (0.0, 0.95, 1.0, 1.0)

_CHOSEN_COLOUR = (1.0, 0.0, 1.0, 1.0)
"""Of the region that is chosen in the table; white would be lost on the heatmap's brightest yellow."""

_OPENED_COLOUR = (0.3, 0.5, 1.0, 1.0)
"""Of masks from files or corrected by hand, which may lie beside what was just found.

Blue: green over the heatmap's yellow is the same colour for those who see no red or no green.
"""

_MORE_COLOURS = ((1.0, 0.3, 1.0, 1.0), (1.0, 0.6, 0.1, 1.0), (0.55, 1.0, 0.2, 1.0))
"""Of the labels from 2 on in a mask that a person corrects or draws."""

_KINDS = (
    *("#f28dad", "#00bed0", "#bea88f", "#a4aac7", "#9cb467", "#db94d2", "#86b4b2", "#f39087"),
    *("#00b9ec", "#afac8f", "#b7a5c0", "#6dbc84", "#caa1a4", "#87b2bf", "#e29b6a", "#70aff7"),
    *("#9eb196", "#c4a2b3", "#2ebfaa", "#c7a397", "#92afc7", "#c3a95e", "#afa1ed", "#8fb3a3"),
)
"""Of kinds of patches. All have the lightness 70 (CIELab): bright and dark are left to the scan beneath."""

_UNLIKE = Colormap(
    [(0.1, 0.1, 0.8, 0.0), (0.1, 0.1, 0.8, 0.6), (0.15, 0.8, 0.5, 0.65), (1.0, 0.95, 0.3, 0.8)],
    name="dinoad unlike",
    display_name="DINOAD unlike",
    controls=[0.0, 0.3, 0.65, 1.0],
)
"""Clear where nothing is to be told: added to a bright scan, colours would all be white."""

_FILLED_OPACITY = 0.5


def _mask_colours(*colours: _Colour) -> CyclicLabelColormap:
    # Not a DirectLabelColormap: napari compiles code for its first one, which freezes the window for seconds.
    return CyclicLabelColormap(colors=[(0.0, 0.0, 0.0, 0.0), *colours], name="dinoad mask")


def _rgba(colour: str) -> _Colour:
    red, green, blue = (value / 255 for value in bytes.fromhex(colour[1:]))
    return red, green, blue, 1.0


def heatmap_look() -> dict[str, Any]:
    """Return the arguments that give an image layer the look of a heatmap."""
    return {
        "colormap": _HEAT,
        "contrast_limits": HEATMAP_LIMITS,
        "blending": "translucent",
        "interpolation2d": "linear",
    }


def mask_look(*colours: _Colour) -> dict[str, Any]:
    """Return the arguments that give a labels layer the look of a mask, and of the chosen region, ticked or not."""
    return {"colormap": _mask_colours(*(colours or (_MASK_COLOUR, *[_CHOSEN_COLOUR] * 2))), "opacity": 0.9}


def hand_look() -> dict[str, Any]:
    """Return the arguments that give a labels layer the look of a mask that a person corrects or draws."""
    return {"colormap": _mask_colours(_OPENED_COLOUR, *_MORE_COLOURS), "opacity": _FILLED_OPACITY}


def kinds_look() -> dict[str, Any]:
    """Return the arguments that give a labels layer the look of kinds of patches."""
    return {"colormap": _mask_colours(*map(_rgba, _KINDS)), "opacity": _FILLED_OPACITY}


def unlike_look() -> dict[str, Any]:
    """Return the arguments that give an image layer the look of scores, from none to the highest."""
    return {"colormap": _UNLIKE, "blending": "translucent", "interpolation2d": "linear"}


def as_saved_result(
    data: np.ndarray, arguments: dict[str, Any], holding: Holding
) -> tuple[np.ndarray, dict[str, Any], str]:
    """Return the layer data tuple that shows a mask or map read from a file as it looks after finding.

    ``arguments`` are those that place it, perhaps among others. Masks of several labels get napari's colours; labels
    that are whole numbers keep their type.
    """
    kept: dict[str, Any] = {
        key: arguments[key] for key in ("name", "affine", "axis_labels", "units") if key in arguments
    }
    kept["metadata"] = arguments["metadata"] | mark_of_file(holding)
    if holding == "map":
        return data, kept | heatmap_look(), "image"
    whole = data if data.dtype.kind in "iu" else np.rint(np.nan_to_num(data)).astype(np.int32)
    # Outlines cannot be asked for here; until `finish_look` the scan shines through instead.
    look = mask_look(_OPENED_COLOUR) | {"opacity": _FILLED_OPACITY} if whole.max(initial=0) <= 1 else {}
    return whole, kept | look, "labels"


def finish_look(layer: Layer) -> None:
    """Give a mask that was read from a file what no layer data tuple can say: an outline.

    A duplicate of the mask that was found has no chosen region from then on.
    """
    if isinstance(layer, Labels) and is_found_mask(layer.metadata) and not is_kept_by_plugin(layer):
        layer.data = without_choice(layer.data)
        mark_copy(layer, layer)
    if is_from_file(layer) and isinstance(layer, Labels) and layer.opacity == _FILLED_OPACITY:
        layer.contour = 1
        layer.opacity = mask_look()["opacity"]

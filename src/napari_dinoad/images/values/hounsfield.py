"""Whether values are those of CT: Hounsfield units, of which air has −1000."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.images.values.intensity import CT_AIR_HU

if TYPE_CHECKING:
    from collections.abc import Collection

__all__ = ["are_hounsfield", "coarse", "modality_note", "reaches_air"]

_AIR_HU, _SKIN_HU, _TISSUE_HU = (-1050.0, -950.0), (-900.0, -200.0), (-150.0, 150.0)
"""Where a slice of CT has air, what is partly air (skin, lung), and fat and other tissue."""

_HU_SHARES = (0.05, 0.002, 0.02)
"""Of the pixels at least so many are each of these in a slice of CT; a head may be small in its field of view."""

_PADDING_HU = -1100.0
"""Below this there is nothing but one value around the field of view."""

_FAR_BELOW_AIR_HU, _MOST_BELOW_AIR = -1500.0, 0.01
"""Of a volume in CT at most this share lies below that, apart from its padding; noise around air does not."""


def modality_note(preset_name: str, is_ct: bool, of_normals: Collection[bool] = ()) -> str:
    """Return in a sentence that a scan is no CT and the model is, or the other way round; else nothing.

    Slices of CT as pictures are fitted by ``mr-slices``, too, of which normal scans must be known; of heads in CT
    without skull there is no air.

    Parameters
    ----------
    preset_name : str
        Of the model.
    is_ct : bool
        Whether the scan has values of air as in CT; see `reaches_air`.
    of_normals : collection of bool
        Whether normal scans have, as far as that is known: nothing is told of what some of them are.
    """
    if is_ct in of_normals:
        return ""
    is_of_mr = preset_name == "mr-brain" or (preset_name == "mr-slices" and bool(of_normals))
    if is_of_mr and is_ct:
        return "The model is of MR, this scan looks like CT (air at −1000)."
    if preset_name.startswith("ct-") and not is_ct:
        return "The model is of CT, this scan has no values of air (−1000)."
    return ""


def coarse(values: np.ndarray) -> np.ndarray:
    """Return every fourth row and column of a volume (z, y, x); a single slice as it is."""
    return values[:, ::4, ::4] if min(values.shape) > 1 else values


def reaches_air(values: np.ndarray) -> bool:
    """Whether values (z, y, x) reach down to air in CT, and not on to what CT has not.

    Maps of phase or velocity (−4096 to 4095) have many values far below air, CT but the one of its padding.
    """
    some = coarse(values)
    lowest = some.min()
    n_too_low = np.count_nonzero((some < _FAR_BELOW_AIR_HU) & (some > lowest))
    return bool(lowest <= CT_AIR_HU and n_too_low <= _MOST_BELOW_AIR * some.size)


def are_hounsfield(values: np.ndarray) -> bool:
    """Whether values lie where those of a slice of CT do: air, what is partly air, tissue, and no lower ones.

    A map with −1000 for no value has nothing that is partly air; what is spread evenly or by a bell has too few or
    too low ones.
    """
    shares = (
        np.count_nonzero((values >= low) & (values <= high)) / values.size
        for low, high in (_AIR_HU, _SKIN_HU, _TISSUE_HU)
    )
    below = values[values < _PADDING_HU]
    is_padded = not below.size or below.min() == below.max()
    return is_padded and all(share >= least for share, least in zip(shares, _HU_SHARES, strict=True))

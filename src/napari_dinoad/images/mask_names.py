"""Masks that their own name tells: by BIDS, by FreeSurfer, and files that are called ``seg`` beside scans."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from napari_dinoad.machine.file_names import MASK_WORDS, MGH_SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_called_mask", "mask_naming"]

_BIDS = re.compile(r"sub-.*_(mask|dseg|probseg)")
"""Suffixes by which names of BIDS (``sub-01_desc-brain_mask``) say that a file holds a mask or tissue, not a scan."""

_FREESURFER = re.compile(r"(.*_)?(aseg|aparc|wmparc)([.+_].*)?")
"""Volumes of labels in ``mri`` of FreeSurfer and FastSurfer, beside ``T1`` and ``brain``, also in another format."""

_FREESURFER_MGH = re.compile(
    r"([lr]h\.)?(ribbon|filled|wm|ctrl_pts|entowm|hippoAmygLabels|ThalamicNuclei|brainstemSsLabels)([.-].*)?"
)
"""More of them, and volumes of tissue, in FreeSurfer's own format: in others it may be a person who is called so."""


def mask_naming(path: Path, name: str) -> Literal["BIDS", "FreeSurfer", ""]:
    """Return by whose way of naming a file, with its name without ending, holds labels or tissue; else nothing."""
    if _BIDS.fullmatch(name):
        return "BIDS"
    is_mgh = path.name.lower().endswith(MGH_SUFFIXES)
    is_of_freesurfer = _FREESURFER.fullmatch(name) or (is_mgh and _FREESURFER_MGH.fullmatch(name))
    return "FreeSurfer" if is_of_freesurfer else ""


def is_called_mask(name: str) -> bool:
    """Whether a file's name (without ending) is that of a mask and no more, or ends in ``segmentation``."""
    last = re.split(r"[-_. ]", name.lower())[-1]
    return name.lower() in MASK_WORDS or last == "segmentation"

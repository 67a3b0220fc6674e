"""Masks that their own name tells: by BIDS, by FreeSurfer, and files that are called ``seg`` beside scans."""

from __future__ import annotations

import re
from typing import Literal

from napari_dinoad.machine.file_names import MASK_WORDS

__all__ = ["is_called_mask", "mask_naming"]

_BIDS = re.compile(r"sub-.*_(mask|dseg|probseg)")
"""Suffixes by which names of BIDS (``sub-01_desc-brain_mask``) say that a file holds a mask or tissue, not a scan."""

_FREESURFER = re.compile(
    r"(.*_)?(aseg|aparc|wmparc)([.+_].*)?"
    r"|([lr]h\.)?(ribbon|filled|wm|ctrl_pts|entowm|hippoAmygLabels|ThalamicNuclei|brainstemSsLabels)([.-].*)?"
)
"""Volumes of labels and of tissue in ``mri`` of FreeSurfer and FastSurfer, beside ``T1`` and ``brain``."""


def mask_naming(name: str) -> Literal["BIDS", "FreeSurfer", ""]:
    """Return by whose way of naming a file (without ending) holds labels or tissue; empty where none says so."""
    if _BIDS.fullmatch(name):
        return "BIDS"
    return "FreeSurfer" if _FREESURFER.fullmatch(name) else ""


def is_called_mask(name: str) -> bool:
    """Whether a file's name (without ending) is that of a mask and no more, or ends in ``segmentation``."""
    last = re.split(r"[-_. ]", name.lower())[-1]
    return name.lower() in MASK_WORDS or last == "segmentation"

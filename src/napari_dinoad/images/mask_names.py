"""Masks that their name tells: by endings behind a scan's name, by BIDS, by FreeSurfer, and files called ``seg``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

from napari_dinoad.machine.file_names import MGH_SUFFIXES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["is_called_mask", "is_of_tissue", "mask_naming", "masked_names"]

_KIND = r"(?:mask|msk|labels?|seg|segm|segmentation|truth|gt|roi|wmh)"
_OUTLINED = r"(?:brain(?:_parenchyma)?|lesions?|tumou?r|stroke|infarct|wmh|consensus|anomaly|by_hand)"
"""What may stand before the kind: what is outlined, and by whom."""

_ENDING = re.compile(rf"(?:^|[-_.]){_KIND}$|[-_.]{_KIND}[-_]?\d{{1,2}}$", re.IGNORECASE)
"""Also of several masks of a scan that are numbered."""

_BEFORE = re.compile(rf"(?:(?:^|[-_.]){_OUTLINED}|_(?:label|desc)-[^-_.]+|_space-orig)$", re.IGNORECASE)
"""Between the scan's name and that ending: words, and BIDS entities that the scan does not have."""

_KIND_FIRST = re.compile(rf"{_KIND}(?P<rest>[-_.].+|\d.*)", re.IGNORECASE)
_SCANS_FIRST = ("image", "img", "volume", "scan", "ct")
"""Where the kind stands before the number, what stands there in names of scans (``volume-0``, ``segmentation-0``)."""

_BIDS = re.compile(r"sub-.*_(mask|dseg|probseg|defacemask)|sub-[^_]+(_[^-_]+-[^_]+)*_roi")
"""Suffixes by which names of BIDS (``sub-01_desc-brain_mask``) say that a file holds a mask or tissue, not a scan.

Of ``sub-01_T1w_roi`` they do not: so FSL calls a scan that it cropped.
"""

_CALLED = re.compile(r".*segmentation|sub-.*_roi", re.IGNORECASE)

_FREESURFER = re.compile(r"(.*_)?(aseg|aparc|wmparc)([.+_].*)?")
"""Volumes of labels in ``mri`` of FreeSurfer and FastSurfer, beside ``T1`` and ``brain``, also in another format."""

_FREESURFER_MGH = re.compile(
    r"([lr]h\.)?(ribbon|filled|wm|ctrl_pts|entowm|hippoAmygLabels|ThalamicNuclei|brainstemSsLabels)([.-].*)?"
)
"""More of them, and volumes of tissue, in FreeSurfer's own format: in others it may be a person who is called so."""

_BRAIN = re.compile(r"(?:.*[-_.])?(?:brain|bet)(?:_parenchyma)?[-_.]?(?:mask|segmentation)", re.IGNORECASE)
_TISSUE = re.compile(r"sub-.*_(dseg|probseg|defacemask)")
_LESION = re.compile(r"lesion|tumou?r|wmh|stroke|infarct", re.IGNORECASE)


def masked_names(name: str) -> tuple[str, ...]:
    """Return what the scan of a mask may be called, by the mask's name (without ending), the likeliest first.

    ``p1_lesion_mask`` may be of ``p1_lesion`` and of ``p1``, ``sub-1_label-L_desc-T1lesion_mask`` of ``sub-1``,
    ``mask_01`` of ``image_01``. Empty text of a name that says no more than that it is a mask (``lesion_mask``);
    nothing of names that do not say so.
    """
    found = _ENDING.search(name)
    first = _KIND_FIRST.fullmatch(name)
    if found is None and first is not None:
        rest = first["rest"]
        return (*(f"{kind}{rest}" for kind in _SCANS_FIRST), rest.lstrip("-_."))
    names = []
    while found is not None:
        names.append(name[: found.start()])
        found = _BEFORE.search(names[-1])
    return tuple(names)


def mask_naming(path: Path, name: str) -> Literal["BIDS", "FreeSurfer", ""]:
    """Return by whose way of naming a file, with its name without ending, holds labels or tissue; else nothing."""
    if _BIDS.fullmatch(name):
        return "BIDS"
    is_mgh = path.name.lower().endswith(MGH_SUFFIXES)
    is_of_freesurfer = _FREESURFER.fullmatch(name) or (is_mgh and _FREESURFER_MGH.fullmatch(name))
    return "FreeSurfer" if is_of_freesurfer else ""


def is_called_mask(name: str) -> bool:
    """Whether beside scans a file's name (without ending) is that of a mask.

    It says that and no more, or ends in ``segmentation``, or is one of BIDS with ``_roi`` behind it.
    """
    return "" in masked_names(name) or _CALLED.fullmatch(name) is not None


def is_of_tissue(path: Path, name: str) -> bool:
    """Whether a mask outlines the brain or its tissues, by its name (without ending), and no lesion."""
    if mask_naming(path, name) == "FreeSurfer":
        return True
    # FreeSurfer's own brainmask is the brain itself.
    is_tissue = _TISSUE.fullmatch(name) or _BRAIN.fullmatch(name)
    return bool(is_tissue) and not _LESION.search(name) and not path.name.lower().endswith(MGH_SUFFIXES)

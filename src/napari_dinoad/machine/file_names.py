"""Names of files: endings that tell what a file is, and names that outputs of any system may have."""

from __future__ import annotations

import hashlib
import os
import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "DICOM_SUFFIXES",
    "IMAGE_SUFFIXES",
    "ITK_SUFFIXES",
    "MAP_ENDING",
    "MASK_FOLDERS",
    "MGH_SUFFIXES",
    "MODEL_SUFFIX",
    "NIFTI_SUFFIXES",
    "PICTURE_ENDINGS",
    "SCAN_SUFFIXES",
    "ScanFormat",
    "case_of",
    "format_of",
    "is_sequence",
    "kind_of_sequence",
    "safe_stem",
    "sequence_of",
    "series_in",
    "short_paths",
    "short_stem",
    "stem_of",
    "without_channel",
    "without_sequence",
]

NIFTI_SUFFIXES = (".nii.gz", ".nii")
MGH_SUFFIXES = (".mgz", ".mgh")
ITK_SUFFIXES = (".nrrd", ".nhdr", ".mha", ".mhd")
DICOM_SUFFIXES = (".dcm", ".ima")
MODEL_SUFFIX = ".dinoad"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
SCAN_SUFFIXES = (*NIFTI_SUFFIXES, *MGH_SUFFIXES, *ITK_SUFFIXES, *DICOM_SUFFIXES, *IMAGE_SUFFIXES)
"""Endings that the readers know, longest first. DICOM is known by its content, whatever its name."""

ScanFormat = Literal["nifti", "itk", "picture"]

_SUFFIXES_OF_FORMAT: dict[ScanFormat, tuple[str, ...]] = {
    "nifti": (*NIFTI_SUFFIXES, *MGH_SUFFIXES),
    "itk": ITK_SUFFIXES,
    "picture": IMAGE_SUFFIXES,
}

MASK_FOLDERS = frozenset(
    {
        "label", "labels", "labelstr", "labelsts", "mask", "masks", "anomaly_mask", "anomaly_masks", "ground_truth",
        "gt", "truth", "truths", "seg", "segm", "segmentation", "segmentations", "msk",
    }
)  # fmt: skip
"""What folders of masks are called, in small letters; they have the names of the scans that lie in another folder."""

MAP_ENDING = "_anomaly"
PICTURE_ENDINGS = ("_heatmap", "_picture")
"""What names of the map that scoring writes, and of what is drawn of it, have behind the name of their scan."""


def format_of(path: Path) -> ScanFormat | None:
    """Return the format that a file's ending says (of MGH as of NIfTI); None of DICOM, and of what is no scan."""
    name = path.name.lower()
    return next((known for known, suffixes in _SUFFIXES_OF_FORMAT.items() if name.endswith(suffixes)), None)


def stem_of(path: Path) -> str:
    """Return the file name without its scan ending (``scan.nii.gz`` → ``scan``)."""
    name = path.name
    for suffix in SCAN_SUFFIXES:
        if name.lower().endswith(suffix) and len(name) > len(suffix):
            return name[: -len(suffix)]
    # DICOM files are often named like a UID: what follows the last dot is no ending then.
    return name if path.suffix[1:].isdigit() else path.stem


def short_paths(paths: Sequence[Path]) -> list[str]:
    """Return the paths below the innermost folder that holds them all."""
    parents = {path.parent for path in paths}
    if len(parents) == 1:
        return [path.name for path in paths]
    # Nothing is shared by those on different drives of Windows.
    n_shared = len(_common_parts([parent.parts for parent in parents]))
    return [str(type(path)(*path.parts[n_shared:])) for path in paths]


def _common_parts(all_parts: Sequence[tuple[str, ...]]) -> list[str]:
    common = []
    for level in zip(*all_parts, strict=False):
        if len(set(level)) > 1:
            break
        common.append(level[0])
    return common


_KIND_OF_SEQUENCE = {
    "t1": "T1", "t1n": "T1", "t1w": "T1", "t1c": "T1 with contrast", "t1ce": "T1 with contrast",
    "t1gd": "T1 with contrast", "t2": "T2", "t2w": "T2", "t2f": "FLAIR", "flair": "FLAIR", "t2star": "T2*",
    "t2starw": "T2*", "pd": "PD", "pdw": "PD", "dwi": "DWI", "adc": "ADC", "swi": "SWI", "mra": "MRA", "angio": "MRA",
    "bold": "BOLD", "sbref": "SBRef", "epi": "EPI", "asl": "ASL", "m0scan": "M0", "mp2rage": "MP2RAGE",
    "unit1": "UNIT1", "inplanet1": "T1", "inplanet2": "T2", "t1map": "T1 map", "t2map": "T2 map", "pet": "PET",
    "ct": "CT", "ncct": "CT", "cta": "CTA", "mprage": "T1", "3dt1": "T1", "t1pre": "T1", "t1post": "T1 with contrast",
    "t1wks": "T1 with contrast",
}  # fmt: skip
"""What sequences are called at the end of names, by BIDS, BraTS in all its years and others, and what they are."""

_SEQUENCE = re.compile(rf"(?<=.)[-_]({'|'.join(_KIND_OF_SEQUENCE)})$", re.IGNORECASE)

_CHANNEL = re.compile(r"_\d{4}$")
_CHANNEL_FOLDERS = ("imagestr", "imagests")
"""nnU-Net's folders, in which scans are called by their channel: ``case_0000`` beside the labels ``case``."""


def without_sequence(stem: str) -> str:
    """Return the name of a scan's case: the stem without the sequence at its end, if one is there."""
    return _SEQUENCE.sub("", stem)


def without_channel(stem: str) -> str:
    """Return the stem without the channel of nnU-Net at its end, if one is there."""
    return _CHANNEL.sub("", stem)


def case_of(path: Path, stem: str) -> str:
    """Return the name of a scan's case, as `without_sequence`; in folders of nnU-Net without the channel."""
    return without_channel(stem) if path.parent.name.lower() in _CHANNEL_FOLDERS else without_sequence(stem)


def series_in(path: Path, stem: str) -> str:
    """Return what tells a person's scans of several kinds apart in a file's name, as it is written; else nothing.

    The sequence that the name is, or ends with; nnU-Net's channel (``0001``); what FreeSurfer calls it in ``mri``.
    """
    folder = path.parent.name.lower()
    if folder == "mri" and path.name.lower().endswith(MGH_SUFFIXES):
        return stem
    channel = _CHANNEL.search(stem) if folder in _CHANNEL_FOLDERS else None
    return channel[0][1:] if channel is not None else sequence_of(stem)


def sequence_of(stem: str) -> str:
    """Return the sequence that a scan's name is, or ends with, as it is written there (``T1w``); else nothing."""
    if is_sequence(stem):
        return stem
    found = _SEQUENCE.search(stem)
    return found[1] if found else ""


def is_sequence(name: str) -> bool:
    """Whether a whole name, of a file without ending or of a folder, is that of a sequence (``T1w``)."""
    return name.lower() in _KIND_OF_SEQUENCE


def kind_of_sequence(sequence: str) -> str:
    """Return what a sequence of `series_in` is (``T1`` of ``t1n`` and ``T1w``); itself where it has no other name."""
    known = _KIND_OF_SEQUENCE.get(sequence.lower(), sequence)
    return f"channel {known}" if known.isdigit() else known


_RESERVED = frozenset('<>:"/\\|?*')
"""What separates folders, or may not stand in a name, on one system or another."""

_DEVICE = re.compile(r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9¹²³]) *(\.|$)", re.IGNORECASE)
"""How a name begins that is a device on Windows, in every folder and whatever its ending."""

_LONGEST_STEM = 160
"""Bytes; file systems take 255."""


def short_stem(name: str) -> str:
    """Return a name that leaves room for the endings of outputs; a long one is cut and gets a hash of the whole."""
    content = os.fsencode(name)
    if len(content) <= _LONGEST_STEM:
        return name
    cut = content[:_LONGEST_STEM].decode(errors="ignore")
    return f"{cut}_{hashlib.sha256(content).hexdigest()[:8]}"


def safe_stem(name: str) -> str:
    """Return any text as a name that outputs of any system may begin with, and that lies in no other folder.

    Separators, reserved and control characters become ``_``, dots and spaces at both ends go (Windows drops the last
    ones), devices (``CON``, ``NUL.x``) get a ``_``, and what is long is cut as `short_stem` does. A name of which
    nothing is left becomes ``scan``.
    """
    kept = "".join(c if c.isprintable() and c not in _RESERVED else "_" for c in name).strip(". ")
    device = _DEVICE.match(kept)
    if device is not None:
        kept = f"{device[1]}_{kept[device.end(1) :]}"
    return short_stem(kept) or "scan"

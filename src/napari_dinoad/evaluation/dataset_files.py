"""What the names of a benchmark's files and folders say: split, class, mask or scan, and whose it is.

Benchmarks lay their files out differently, so words decide, whatever their order and case: of a split (``train``,
``valid``, ``test``), of a class (``good``, ``Ungood``), of masks (``label``, ``anomaly_mask``, …), of images. What is
left of the folders is the place: a patient's or a session's, that tells apart files of one name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from napari_dinoad.images.mask_names import is_called_mask, mask_naming, masked_names
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.machine.file_names import MASK_FOLDERS, case_of, is_sequence, stem_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.images.dicom.segmentations import SegmentedImages

__all__ = ["DatasetFile", "Place", "Split", "is_of_normals", "is_of_split", "says_nothing"]

Split = Literal["train", "valid", "test"]
Place = tuple[str, ...]
"""Names of folders, outermost first, without the words that say what kind of file lies there."""

_SPLITS: dict[str, Split] = {
    "train": "train", "training": "train", "valid": "valid", "val": "valid", "validation": "valid",
    "test": "test", "testing": "test",
}  # fmt: skip
_IMAGES = {
    "img", "imgs", "image", "images", "imagestr", "imagests", "imaging", "scan", "scans", "rawdata",
    "sourcedata", "derivatives",
}  # fmt: skip
_NORMAL = {"good", "normal", "normals", "healthy", "ok", "no_tumour", "no_tumor", "notumor"}
_PUBLISHED = {"public"}
_ABNORMAL = {
    "ungood", "bad", "ko", "abnormal", "anomaly", "anomalous", "tumour", "tumor", "lesion", "patient", "patients",
}  # fmt: skip


_NUMBERED = re.compile(r"_series\d+(_\d+)?$")
"""What a series has behind the name of its folder, where that holds several."""


@dataclass(frozen=True)
class DatasetFile:
    """A file of a benchmark, or a DICOM series.

    Attributes
    ----------
    path : Path
        Of a series in several files the folder that holds them.
    split : {"train", "valid", "test"}, optional
    is_abnormal : bool, optional
        As its folder says; None when none does.
    in_mask_folder : bool
    places : tuple of Place
        Its place, and where a folder's name ends in a word of masks or images (``p1_mask``) also the place without
        that folder: ``lesion_masks`` may name the kind only.
    series : ScanFile, optional
        The DICOM series that it is.
    segmented : SegmentedImages, optional
        What it was drawn on, if it is a DICOM segmentation.
    fault : str
        Why it cannot be read, as its header shows already; empty otherwise.
    name : str
        Of a series: its folder's or file's, and its number where the folder holds several. Empty otherwise.
    is_mask : bool
        Whether it was told to be one by scans beside it, which may be set aside by now.
    """

    path: Path
    split: Split | None
    is_abnormal: bool | None
    in_mask_folder: bool
    places: tuple[Place, ...]
    series: ScanFile | None = field(default=None, compare=False, repr=False)
    segmented: SegmentedImages | None = field(default=None, compare=False, repr=False)
    fault: str = field(default="", compare=False)
    name: str = ""
    is_mask: bool = field(default=False, compare=False)

    @classmethod
    def of(
        cls,
        path: Path,
        folder: Path,
        *,
        series: ScanFile | None = None,
        segmented: SegmentedImages | None = None,
        fault: str = "",
    ) -> DatasetFile:
        """Read the folders between ``folder`` and the file: the innermost that says something counts."""
        split: Split | None = None
        is_abnormal: bool | None = None
        in_mask_folder = False
        place: list[str] = []
        plain_place: list[str] = []
        parts = path.relative_to(folder).parts
        for part in parts[:-1]:
            name = _plain(part)
            split = _split_of(name) or split
            in_mask_folder |= _is_of_masks(name)
            if name in _NORMAL | _ABNORMAL:
                is_abnormal = name in _ABNORMAL
            elif name not in MASK_FOLDERS | _IMAGES:
                bare = _without_kind(name)
                place.append(bare)
                plain_place += [name] if bare == name else []
        if series is not None and parts and path.is_dir():
            # The folder of a series names it; one that holds no other may be that of a split or class, too.
            own = _plain(parts[-1])
            split = _split_of(own) or split
            is_abnormal = own in _ABNORMAL if own in _NORMAL | _ABNORMAL else is_abnormal
        places = tuple(dict.fromkeys((tuple(place), tuple(plain_place))))
        name = "" if series is None else series.name
        return cls(path, split, is_abnormal, in_mask_folder, places, series, segmented, fault, name)

    @property
    def stem(self) -> str:
        """The name of a series, or the file name without its ending, in lower case."""
        return (self.name or stem_of(self.path)).lower()

    @property
    def scan_stems(self) -> tuple[str, ...]:
        """What its scan may be called, the likeliest first, if it is a mask; see `masked_names`.

        Its own stem where that does not end as those of masks do: then its folder may say that it is one.
        """
        return masked_names(self.stem) or (self.stem,)

    @property
    def is_named_mask(self) -> bool:
        """Whether its name says that it is a mask, whatever lies beside it; see `mask_naming`, `is_called_mask`."""
        return self.series is None and bool(
            mask_naming(self.path, stem_of(self.path)) or is_called_mask(self.stem)
        )

    @property
    def case_stem(self) -> str:
        """The stem without the sequence or channel that a scan is of (``p1_flair`` → ``p1``).

        Empty of a name that says only what kind of file it is (``flair``, ``imaging``): its folder is the case. So it
        is of a DICOM series in a folder of its own within one; one of several in a folder has that folder's name.
        """
        if self.stem in _IMAGES or is_sequence(self.stem):
            return ""
        if self.series is None:
            return case_of(self.path, self.stem)
        case = case_of(self.path, _NUMBERED.sub("", self.stem))
        return "" if case == self.stem and self.places[0] else case

    def as_file(self) -> ScanFile:
        """Return it as what can be read."""
        return self.series or ScanFile.of_file(self.path)


def _plain(part: str) -> str:
    return part.lower().replace("-", "_")


def is_of_normals(folder_name: str) -> bool:
    """Whether a folder holds normal scans, by its name."""
    return _plain(folder_name) in _NORMAL


def is_of_split(folder_name: str) -> bool:
    """Whether a folder holds a split, by its name."""
    return _split_of(_plain(folder_name)) is not None


def says_nothing(folder_name: str) -> bool:
    """Whether a folder's name says neither split nor class, nor that masks or images lie there."""
    name = _plain(folder_name)
    return not (_is_of_masks(name) or name in _IMAGES | _NORMAL | _ABNORMAL or _split_of(name))


def _is_of_masks(name: str) -> bool:
    return name in MASK_FOLDERS or name.rpartition("_")[2] in MASK_FOLDERS


def _split_of(name: str) -> Split | None:
    """Return the split that a whole folder name says, perhaps with a kind: ``test_label``, not ``test_retest``.

    ``test_public`` of MVTec AD 2 is the one whose masks are published.
    """
    first, _, rest = name.partition("_")
    is_split = not rest or rest in MASK_FOLDERS | _IMAGES | _NORMAL | _ABNORMAL | _PUBLISHED
    return _SPLITS.get(first) if is_split else None


def _without_kind(name: str) -> str:
    """Return a folder's name without the word of masks or images at its end (``test_anomaly_mask`` → ``test``)."""
    parts = name.split("_")
    for n_kept in range(1, len(parts)):
        if "_".join(parts[n_kept:]) in MASK_FOLDERS | _IMAGES:
            return "_".join(parts[:n_kept])
    return name

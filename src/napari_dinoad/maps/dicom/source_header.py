"""The header of a source image, with what objects that are made of it repeat put in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from pydicom.charset import python_encoding
from pydicom.errors import InvalidDicomError
from pydicom.valuerep import DA, TM

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom.files import read_dataset
from napari_dinoad.images.dicom.headers import unit_orientation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["number_of", "source_header"]

_UNIT_TOLERANCE = 1e-5
"""Direction cosines that lie farther from vectors of length 1 at right angles are made such: readers of DICOM-SEG
refuse them."""

_TYPE_2 = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip
"""Tags that must be present but may be empty; some scanners and most de-identifiers leave them out."""

_SEXES = ("M", "F", "O", "", None)
_PARSERS: dict[str, Callable[[Any], Any]] = {"PatientBirthDate": DA, "StudyDate": DA, "StudyTime": TM}

_UTF_8 = "ISO_IR 192"


def source_header(path: Path) -> Dataset:
    """Read the header of a source image, and put in order what the standard forbids to repeat as it is.

    Raises
    ------
    ScanReadError
        If the file has gone or is damaged.
    """
    try:
        header = read_dataset(path, stop_before_pixels=True)
    except (OSError, InvalidDicomError) as error:
        raise ScanReadError(
            f"{path.name}: the source image cannot be read again ({type(error).__name__}); what is made of "
            "it needs its header."
        ) from error
    for keyword in _TYPE_2:
        if keyword not in header or not _is_sound(keyword, header[keyword].value):
            setattr(header, keyword, "")
        elif header[keyword].VM > 1:
            # A backslash parts values; in names of unknown characters it may be half of one.
            setattr(header, keyword, header[keyword].value[0])
    _settle_characters(header)
    orientation = tuple(float(x) for x in header.get("ImageOrientationPatient") or ())
    unit = unit_orientation(orientation if len(orientation) == 6 else None)
    if unit is not None and not np.allclose(unit, orientation, rtol=0, atol=_UNIT_TOLERANCE):
        header.ImageOrientationPatient = [f"{x:.10f}" for x in unit]
    _settle_deidentification(header)
    return header


def number_of(header: Dataset, keyword: str) -> int:
    """Return a whole number of a header; 0 where there is none, or text in its place."""
    try:
        return int(header.get(keyword))
    except (ValueError, TypeError, OverflowError):
        return 0


def _is_sound(keyword: str, value: object) -> bool:
    """Return whether a value may be repeated; dates, times and sexes that are none must be left empty."""
    if keyword == "PatientSex":
        return value in _SEXES
    parse = _PARSERS.get(keyword)
    if parse is None or not value:
        return True
    try:
        parse(value)
    except (ValueError, TypeError):
        return False
    return True


def _settle_deidentification(header: Dataset) -> None:
    """Leave no empty method, and no header that was de-identified without one: both are against the standard."""
    if "DeidentificationMethod" in header and not header.DeidentificationMethod:
        del header.DeidentificationMethod
    told = header.get("DeidentificationMethod") or header.get("DeidentificationMethodCodeSequence")
    if header.get("PatientIdentityRemoved") == "YES" and not told:
        header.DeidentificationMethod = "not told by the source images"


def _settle_characters(header: Dataset) -> None:
    """Let texts be written as UTF-8 where their character sets are several, or not ones that highdicom takes.

    pydicom decodes values, when they are first asked for, by the character sets that the file was read with.
    """
    names = header.get("SpecificCharacterSet") or []
    names = [names] if isinstance(names, str) else list(names)
    plain = {kind.value for kind in hd.SpecificCharacterSetValues if not kind.value.startswith("ISO 2022")}
    if not any(names):
        header.pop("SpecificCharacterSet", None)
    elif len(names) == 1 and names[0] in plain:
        return
    elif all(not name or name in python_encoding for name in names):
        header.SpecificCharacterSet = _UTF_8
    else:
        # Nobody knows what it means: values are repeated byte by byte.
        del header.SpecificCharacterSet

"""Which DICOM files are of one patient, without the patient's number ever leaving this module."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from napari_dinoad.images.dicom.files import DAMAGED, read_dataset
from napari_dinoad.images.dicom.silence import unvalidated

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["PATIENT_TAG", "patient_mark", "take_mark"]

PATIENT_TAG = "PatientID"
"""The tag that tells patients from each other; it is read for that alone."""

_SALT = secrets.token_bytes(32)
"""Of this process: a mark says nothing outside of it."""

_PADDING = b" \0"


def patient_mark(path: Path) -> bytes | None:
    """Return the mark of the patient of a file, see `take_mark`; None also where it cannot be read."""
    try:
        # The standard's warnings about odd values would quote them.
        with unvalidated:
            return take_mark(read_dataset(path, [PATIENT_TAG], stop_before_pixels=True))
    except DAMAGED:
        # Chained, it might quote the header.
        return None


def take_mark(header: Dataset) -> bytes | None:
    """Take the PatientID out of a header, and return a mark that files of one patient share: its hash.

    It is salted anew in each process: for comparing within this one, never for keeping. The number is not decoded.

    Returns
    -------
    bytes or None
        None where the header names no patient.
    """
    element = header.get_item(PATIENT_TAG)
    header.pop(PATIENT_TAG, None)
    value = b"" if element is None else element.value or b""
    number = (value if isinstance(value, bytes) else str(value).encode()).strip(_PADDING)
    return hashlib.blake2b(number, key=_SALT, digest_size=16).digest() if number else None

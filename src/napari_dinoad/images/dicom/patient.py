"""Which DICOM files are of one patient, without the patient's number ever leaving this module."""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING

from napari_dinoad.images.dicom.files import read_dataset
from napari_dinoad.images.dicom.headers import DAMAGED
from napari_dinoad.images.dicom.silence import unvalidated

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["patient_mark"]

_SALT = secrets.token_bytes(32)
"""Of this process: a mark says nothing outside of it."""

_PADDING = b" \0"


def patient_mark(path: Path) -> bytes | None:
    """Return a mark that files of one patient share: a hash of the PatientID, salted anew in each process.

    It is for comparing within this process, never for keeping. The number is hashed undecoded.

    Returns
    -------
    bytes or None
        None where the file names no patient, or cannot be read.
    """
    try:
        # The standard's warnings about odd values would quote them.
        with unvalidated:
            header = read_dataset(path, ["PatientID"], stop_before_pixels=True)
            element = header.get_item("PatientID")
            value = b"" if element is None else element.value or b""
    except DAMAGED:
        # Chained, it might quote the header.
        return None
    number = (value if isinstance(value, bytes) else str(value).encode()).strip(_PADDING)
    return hashlib.blake2b(number, key=_SALT, digest_size=16).digest() if number else None

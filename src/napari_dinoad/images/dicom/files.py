"""Files → pydicom's data sets, also of old files that lack the preamble by which DICOM is known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pydicom
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from napari_dinoad.images import damage
from napari_dinoad.machine.file_names import DICOM_SUFFIXES
from napari_dinoad.machine.shared_block import unwarned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["DAMAGED", "MANUFACTURER", "is_dicom", "may_be_dicom", "read_dataset"]

MANUFACTURER = "napari-dinoad"
"""What objects that this program makes name as their manufacturer; by it they are known again."""

DAMAGED = (*damage.DAMAGED, InvalidDicomError, BytesLengthException)
"""What pydicom raises on damaged files. The messages may quote any part of a header, so they are never chained."""

_PREAMBLE_BYTES = 128
_MAGIC = b"DICM"

_LOOKED_AT_BYTES = 1024
"""Of the start of a file without preamble; the class of the object is named before most else."""

_BARE = re.compile(
    rb"(?=\x02\x00|\x08\x00)(?=.*?(?:\x02\x00\x02\x00|\x08\x00\x16\x00)(?:UI..|..\x00\x00)1\.2\.840\.10008\.)"
    rb"|(?=\x00\x08)(?=.*?\x00\x08\x00\x16(?:UI..|\x00\x00..)1\.2\.840\.10008\.)",
    re.DOTALL,
)
"""How DICOM without preamble begins: with group 2 or 8 (either byte order), and in it a class of the standard."""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM by its first bytes, whatever its name; one that cannot be opened is not."""
    try:
        return _is_dicom(_start_of(path))
    except OSError:
        return False


def may_be_dicom(path: Path) -> bool:
    """Whether a file is DICOM, or could be a damaged one; `read_header` then says what is wrong with it.

    That is: one that cannot be opened; one with DICOM's ending; and, where the name has no other format's ending, one
    that is empty or begins with zeros only, as a copy does that was cut short. An empty one without a digit in its
    name (LOCKFILE) is none: names of slices count.
    """
    try:
        start = _start_of(path)
    except OSError:
        return True
    suffix = path.suffix.lower()
    has_no_ending = not suffix or suffix[1:].isdigit()
    begins_with_zeros = not any(start[: _PREAMBLE_BYTES + len(_MAGIC)])
    may_be_slice = bool(start) or any(letter.isdigit() for letter in path.name)
    return (
        _is_dicom(start) or suffix in DICOM_SUFFIXES or (has_no_ending and begins_with_zeros and may_be_slice)
    )


def read_dataset(
    path: Path, tags: Sequence[str] | None = None, *, stop_before_pixels: bool = False
) -> Dataset:
    """Read a data set, or those of its tags that are named.

    Of a file without preamble and header of its own the transfer syntax is the one that pydicom found it written in.

    Raises
    ------
    OSError, InvalidDicomError, …
        What pydicom raises.
    """
    with path.open("rb") as stream, unwarned:  # by pydicom, of values that it does not know: it quotes them
        is_bare = _BARE.match(stream.read(_LOOKED_AT_BYTES)) is not None
        stream.seek(0)
        dataset = pydicom.dcmread(
            stream,
            force=is_bare,
            stop_before_pixels=stop_before_pixels,
            specific_tags=None if tags is None else list(tags),
        )
    if is_bare and "TransferSyntaxUID" not in dataset.file_meta:
        is_implicit, is_little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if is_implicit else explicit
    return dataset


def _start_of(path: Path) -> bytes:
    with path.open("rb") as stream:
        return stream.read(_LOOKED_AT_BYTES)


def _is_dicom(start: bytes) -> bool:
    has_magic = start[_PREAMBLE_BYTES : _PREAMBLE_BYTES + len(_MAGIC)] == _MAGIC
    return has_magic or _BARE.match(start) is not None

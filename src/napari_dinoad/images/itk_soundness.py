"""What ITK does not survive, or does not tell, of NRRD and MetaImage files: looked for before it reads them.

Over some headers it ends the whole process; of compressed voxels that are damaged it makes zeros.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from typing import TYPE_CHECKING, BinaryIO

from napari_dinoad.machine.files import is_special

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["require_sound_header", "require_whole_voxels"]

_HEADER_BYTES = 2**20
"""More than the text at the beginning of such a file takes."""

_LONGEST_LINE = 500
"""Bytes of a line: ITK writes a NRRD's into messages that have room for 1000 or so, and beyond."""

_ANY_LENGTH = re.compile(rb"#|content:|[^\r\n]*?:=")
"""Begins the lines of a NRRD that it does not quote: comments, the content, keys with values of one's own."""

_POSSIBLE_AXES = (b"1", b"2", b"3", b"4", b"5")

_TEXT_BYTES = 8
"""Bytes of voxels that one byte of an uncompressed file can stand for at most: of numbers written as text."""

_CHUNK_BYTES = 2**14
"""zlib makes 17 MB of it at most."""

_EITHER = zlib.MAX_WBITS | 32
"""Lets zlib take its own format, or that of gzip, as ITK does in MetaImage."""


def require_sound_header(path: Path) -> None:
    """Raise `ValueError` over a header with which ITK ends the process, or waits for ever."""
    header, _ = _parts(path)
    if _is_nrrd(path):
        lines = re.split(rb"[\r\n]+", header)
        if any(len(line) > _LONGEST_LINE and not _ANY_LENGTH.match(line) for line in lines):
            raise ValueError(f"a line of more than {_LONGEST_LINE} letters in its header")
    else:
        named = re.findall(rb"(?m)^[ \t]*NDims[ \t]*[=:]?([^\r\n]*)", header)
        if any(number.strip() not in _POSSIBLE_AXES for number in named):
            raise ValueError("an impossible number of axes, NDims")
    if any(is_special(path.parent / os.fsdecode(name)) for name in _names_of_files(path, header)):
        raise ValueError("its header names a pipe or a device for the voxels")


def require_whole_voxels(path: Path, n_bytes: int) -> None:
    """Raise where the voxels of a file are fewer than its header says, or compressed and damaged.

    They are unpacked for it and thrown away. Where they lie in several files nothing is looked at.

    Parameters
    ----------
    path : Path
        The file, or its header where the voxels lie in a file of their own.
    n_bytes : int
        What the header says that they take.

    Raises
    ------
    ValueError, OSError, EOFError, zlib.error
    """
    header, place = _parts(path)
    names = _names_of_files(path, header)
    held_in = path.parent / os.fsdecode(names[0]) if names else path
    if len(names) > 1 or not held_in.is_file():
        return  # Of a file that is not there ITK tells.
    with held_in.open("rb") as stream:
        stream.seek(0 if names else place)
        if not _is_nrrd(path):
            is_packed = re.search(rb"(?mi)^[ \t]*CompressedData[ \t]*=[ \t]*T", header) is not None
            if not is_packed or b"HeaderSize" in header:
                return  # Of what is not compressed ITK counts the bytes itself.
            n_held = sum(map(len, _of_zlib(stream)))
        elif re.search(rb"(?mi)^encoding[ \t]*:[ \t]*gz", header):
            if b"line skip" in header:
                return
            n_held = sum(map(len, _of_gzip(stream)))
        else:
            n_held = _TEXT_BYTES * held_in.stat().st_size
    if n_held < n_bytes:
        raise ValueError(f"{n_held} bytes of voxels, expected {n_bytes}")


def _is_nrrd(path: Path) -> bool:
    return path.suffix.lower() in (".nrrd", ".nhdr")


def _parts(path: Path) -> tuple[bytes, int]:
    """Return the text at the beginning of a file, and where the voxels begin that may follow it."""
    with path.open("rb") as stream:
        start = stream.read(_HEADER_BYTES)
    pattern = (
        rb"\r?\n\r?\n" if _is_nrrd(path) else rb"(?m)^[ \t]*ElementDataFile[ \t]*=[ \t]*LOCAL[ \t]*\r?\n"
    )
    end = re.search(pattern, start)
    return (start, len(start)) if end is None else (start[: end.end()], end.end())


def _names_of_files(path: Path, header: bytes) -> list[bytes]:
    """Return the files that a header names for the voxels, or a pattern of them; none where they follow it."""
    field = rb"data ?file[ \t]*:" if _is_nrrd(path) else rb"[ \t]*ElementDataFile[ \t]*="
    named = re.search(rb"(?mi)^" + field + rb"[ \t]*([^\r\n]+?)[ \t]*$", header)
    if named is None or named[1].upper() == b"LOCAL":
        return []
    return [named[1], *(header[named.end() :].split() if named[1].startswith(b"LIST") else ())]


def _of_gzip(stream: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=stream) as unpacked:
        while chunk := unpacked.read1():
            yield chunk


def _of_zlib(stream: BinaryIO) -> Iterator[bytes]:
    unpacking = zlib.decompressobj(_EITHER)
    while not unpacking.eof:
        chunk = stream.read(_CHUNK_BYTES)
        if not chunk:
            raise EOFError("compressed voxels that are cut short")
        yield unpacking.decompress(chunk)

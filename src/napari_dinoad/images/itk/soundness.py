"""What ITK does not survive, or does not tell, of NRRD and MetaImage files: looked for before it reads them.

Over some headers it ends the whole process; of compressed voxels that are damaged it makes zeros.
"""

from __future__ import annotations

import gzip
import math
import re
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from napari_dinoad.images.itk.headers import ItkHeader
from napari_dinoad.machine.files import is_special

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "SurplusBytesError",
    "VoxelChecksum",
    "require_sound_header",
    "require_whole_voxels",
    "stored_checksum",
]

_LONGEST_LINE = 500
"""Bytes of a line: ITK writes a NRRD's into messages that have room for 1000 or so, and beyond."""

_ANY_LENGTH = re.compile(rb"#|content:|[^\r\n]*?:=")
"""Begins the lines of a NRRD that it does not quote: comments, the content, keys with values of one's own."""

_POSSIBLE_AXES = (b"1", b"2", b"3", b"4", b"5")

_TEXT_BYTES = 8
"""Bytes of voxels that one byte of an uncompressed file can stand for at most: of numbers written as text."""

_GZIP_NAMES = (b"gz", b"gzip")
_YES = (b"T", b"t", b"1")
"""What NRRD and MetaImage say of compressed voxels."""

_CHUNK_BYTES = 2**14
"""zlib makes 17 MB of it at most."""

_MOST_UNPACKED = 1032
"""Bytes that one compressed byte can stand for."""

_GZIP, _ZLIB = b"\x1f\x8b", b"\x78"
"""How compressed voxels begin."""

_TRAILER_BYTES = 8

_EITHER = zlib.MAX_WBITS | 32
"""Lets zlib take its own format, or that of gzip, as ITK does in MetaImage."""


class SurplusBytesError(ValueError):
    """A file that a header names holds more bytes than the voxels, which may stand before or behind them.

    ITK reads the first bytes, whatever they are.
    """


def require_sound_header(path: Path) -> None:
    """Raise `ValueError` over a header with which ITK ends the process, or waits for ever."""
    header = ItkHeader.of(path)
    if header.is_nrrd:
        lines = re.split(rb"[\r\n]+", header.text)
        if any(len(line) > _LONGEST_LINE and not _ANY_LENGTH.match(line) for line in lines):
            raise ValueError(f"a line of more than {_LONGEST_LINE} letters in its header")
    else:
        named = re.findall(rb"(?m)^[ \t]*NDims[ \t]*[=:]?([^\r\n]*)", header.text)
        if any(number.strip() not in _POSSIBLE_AXES for number in named):
            raise ValueError("an impossible number of axes, NDims")
    files = header.voxel_files()
    if files is not None and any(map(is_special, files.paths)):
        raise ValueError("its header names a pipe or a device for the voxels")


def require_whole_voxels(path: Path, size: Sequence[int], voxel_bytes: int) -> None:
    """Raise where the voxels of a file are not those that its header says, or compressed and damaged.

    Compressed ones are unpacked for it and thrown away. Files that the header names may lie anywhere, as in other
    programs, but hold exactly the voxels; those that follow it may be followed by something else.

    Parameters
    ----------
    path : Path
        The file, or its header where the voxels lie in files of their own.
    size : sequence of int
        Along all axes, the quickest first.
    voxel_bytes : int
        Of all components of a voxel.

    Raises
    ------
    SurplusBytesError, ValueError, OSError, EOFError, zlib.error
    """
    header = ItkHeader.of(path)
    files, n_bytes = header.voxel_files(), math.prod(size) * voxel_bytes
    if files is None:
        _require_bytes(_held(header, path, header.place), n_bytes, "")
        return
    n_files = len(files.paths)
    if files.n_axes is not None and not header.is_nrrd:
        # NRRD's are counted by ITK; of MetaImage what is in memory stands for voxels without a file.
        n_axes = files.n_axes or len(size) - 1
        if not 0 < n_axes < len(size) or n_files != math.prod(size[n_axes:]):
            raise ValueError(
                f"voxels of size {' × '.join(map(str, size))} in the wrong number of files, {n_files}"
            )
    for held_in in files.paths:
        if not held_in.is_file():
            return  # Of it ITK tells.
        _require_bytes(_held(header, held_in, 0), n_bytes / n_files, f" in {held_in.name}")


@dataclass(frozen=True)
class VoxelChecksum:
    """What stands behind compressed voxels: whoever has unpacked all of them has voxels with this checksum.

    Attributes
    ----------
    of : callable
        Returns the checksum of an array in memory.
    stored : int
    """

    of: Callable[[Any], int]
    stored: int


def stored_checksum(path: Path, size: Sequence[int], voxel_bytes: int) -> VoxelChecksum | None:
    """Return the checksum of all voxels of a file, so that they need be unpacked only once, by ITK.

    None where it cannot be told without unpacking them; `require_whole_voxels` has the parameters. One that is
    wrong says nothing yet: ITK may have turned the voxels' bytes about.

    Raises
    ------
    ValueError, OSError
    """
    header = ItkHeader.of(path)
    files, n_bytes = header.voxel_files(), math.prod(size) * voxel_bytes
    if files is not None and (files.n_axes is not None or not files.paths[0].is_file()):
        return None
    held_in, place = (path, header.place) if files is None else (files.paths[0], 0)
    end = held_in.stat().st_size
    if header.is_nrrd:
        is_plain = not (header.number(rb"byte ?skip") or header.number(rb"line ?skip"))
        is_compressed = header.value(b"encoding").lower() in _GZIP_NAMES
    else:
        n_packed = header.number(b"CompressedDataSize") or end - place
        is_plain = not header.number(b"HeaderSize") and 0 < n_packed <= end - place
        is_compressed = header.value(b"CompressedData")[:1] in _YES
        end = place + n_packed
    # ITK takes memory for as many as the header says, before it looks at any.
    if not is_plain or not is_compressed or n_bytes > _MOST_UNPACKED * (end - place):
        return None
    with held_in.open("rb") as stream:
        stream.seek(place)
        start = stream.read(len(_GZIP))
        stream.seek(max(place, end - _TRAILER_BYTES))
        trailer = stream.read(_TRAILER_BYTES)
    first, second = trailer[:4], trailer[4:]
    if start == _GZIP and int.from_bytes(second, "little") == n_bytes % 2**32:
        return VoxelChecksum(zlib.crc32, int.from_bytes(first, "little"))
    return VoxelChecksum(zlib.adler32, int.from_bytes(second, "big")) if start[:1] == _ZLIB else None


class _HeldVoxels(NamedTuple):
    """How many bytes of voxels a file holds, whether what is more than wanted is too many, and whether unpacked."""

    n_bytes: float
    is_exact: bool
    is_packed: bool = False


def _held(header: ItkHeader, path: Path, place: int) -> _HeldVoxels:
    """Count the voxels of a file, from a place on; infinitely many where ITK counts them itself."""
    return (_held_by_nrrd if header.is_nrrd else _held_by_meta_image)(header, path, place)


def _held_by_nrrd(header: ItkHeader, path: Path, place: int) -> _HeldVoxels:
    encoding = header.value(b"encoding").lower()
    skipped = header.number(rb"byte ?skip")
    is_exact = not place and skipped >= 0 and not header.number(rb"line ?skip")
    if encoding in _GZIP_NAMES:
        with path.open("rb") as stream:
            stream.seek(place)
            n_bytes = sum(map(len, _of_gzip(stream)))
    else:
        n_bytes = path.stat().st_size - place
        if encoding != b"raw":
            return _HeldVoxels(_TEXT_BYTES * n_bytes, False)
    return _HeldVoxels(n_bytes - max(0, skipped), is_exact, encoding in _GZIP_NAMES)


def _held_by_meta_image(header: ItkHeader, path: Path, place: int) -> _HeldVoxels:
    skipped = header.number(b"HeaderSize")
    if header.value(b"CompressedData")[:1] not in _YES:
        return _HeldVoxels(
            math.inf if place else path.stat().st_size - max(0, skipped), not place and skipped >= 0
        )
    if skipped:
        raise ValueError("compressed voxels after something else")
    if place and not header.number(b"CompressedDataSize"):
        # ITK unpacks the header then, in vain, and leaves what is in memory.
        raise ValueError(
            "its header does not say how many bytes its compressed voxels take, CompressedDataSize"
        )
    with path.open("rb") as stream:
        stream.seek(place)
        n_bytes = sum(map(len, _of_zlib(stream, header.number(b"CompressedDataSize") or path.stat().st_size)))
    return _HeldVoxels(n_bytes, not place, is_packed=True)


def _require_bytes(held: _HeldVoxels, n_bytes: float, where: str) -> None:
    told = f"{held.n_bytes} bytes of voxels{where}, expected {n_bytes:.0f}"
    is_surplus = held.is_exact and held.n_bytes > n_bytes
    if held.n_bytes < n_bytes or (is_surplus and held.is_packed):
        raise ValueError(told)
    if is_surplus:
        raise SurplusBytesError(told)


def _of_gzip(stream: BinaryIO) -> Iterator[bytes]:
    with gzip.GzipFile(fileobj=stream) as unpacked:
        while chunk := unpacked.read1():
            yield chunk


def _of_zlib(stream: BinaryIO, n_packed: int) -> Iterator[bytes]:
    unpacking = zlib.decompressobj(_EITHER)
    while not unpacking.eof:
        chunk = stream.read(min(_CHUNK_BYTES, n_packed))
        if not chunk:
            raise EOFError("compressed voxels that are cut short")
        n_packed -= len(chunk)
        yield unpacking.decompress(chunk)

"""The text at the beginning of a NRRD or MetaImage file, and which files it names for the voxels."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_dinoad.machine.file_names import format_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ItkHeader", "VoxelFiles", "has_voxels_apart", "holds_segments", "voxels_apart"]

_TEXT_BYTES = 2**20
"""More than the text takes."""

_USUAL_TEXT_BYTES = 2**16
"""More than it mostly takes: no more is read of a folder's many files over a network."""

_MOST_FILES = 2**16

_PATTERN = re.compile(rb"([^%]*%0?[1-9]?[0-9]?[di][^%]*?)((?:[ \t]+-?\d+){3,4})")
"""Files by number: a name with one place for a number of less than 100 digits; the first, the last, and the step."""

_LOCAL = rb"(?:LOCAL|Local|local)"
"""What a MetaImage says where its voxels follow."""

_SEGMENT = re.compile(rb"(?m)^Segment(?:\d+|ation)_\w+:=")


@dataclass(frozen=True)
class VoxelFiles:
    """Files with the voxels of a scan, in their order.

    Attributes
    ----------
    paths : tuple of Path
    n_axes : int, optional
        How many axes each of a list or series holds, 0 where the header does not say it; None: of one file.
    """

    paths: tuple[Path, ...]
    n_axes: int | None = None


@dataclass(frozen=True)
class ItkHeader:
    """A header as it is written.

    Attributes
    ----------
    path : Path
    text : bytes
        Up to the voxels, or to the end of a file without.
    place : int
        Where voxels begin that follow it.
    """

    path: Path
    text: bytes
    place: int

    @classmethod
    def of(cls, path: Path) -> ItkHeader:
        """Read the header of a file."""
        local = rb"(?m)^[ \t]*ElementDataFile[ \t]*[=:][ \t]*%b[ \t]*\r?\n" % _LOCAL
        last = re.compile(rb"\r?\n\r?\n" if _is_nrrd(path) else local)
        with path.open("rb") as stream:
            start = stream.read(_USUAL_TEXT_BYTES)
            end = last.search(start)
            if end is None:
                start += stream.read(_TEXT_BYTES - len(start))
                end = last.search(start)
        place = len(start) if end is None else end.end()
        return cls(path, start[:place], place)

    @property
    def is_nrrd(self) -> bool:
        """Whether it is that of a NRRD, else of a MetaImage."""
        return _is_nrrd(self.path)

    def value(self, field: bytes) -> bytes:
        """Return what a field, given as a pattern, says; of several the last; empty where there is none."""
        found = self._found(field)
        return found[-1][1].strip() if found else b""

    def number(self, field: bytes) -> int:
        """Return the whole number that a field says, or 0; `ValueError` if it is none."""
        return int(self.value(field) or b"0")

    def voxel_files(self) -> VoxelFiles | None:
        """Return the files that it names for the voxels, None where these follow it.

        Raises
        ------
        ValueError
            If it names none, or some by a pattern that is none: ITK gives that to C's ``printf``.
        """
        found = self._found(rb"data ?file" if self.is_nrrd else rb"ElementDataFile")
        if not found and not self.is_nrrd:
            raise ValueError("its header does not say where the voxels are")
        if not found or (re.fullmatch(_LOCAL, found[0][1].strip()) and not self.is_nrrd):
            return None
        name, rest = found[0][1].strip(), self.text[found[0].end() :]
        if name.startswith(b"LIST"):
            if not (self.is_nrrd or rest.endswith(b"\n")):
                # ITK leaves out a file whose line is not ended, and what is in memory stands for its voxels.
                raise ValueError("its list of files breaks off")
            return self._files([line.strip() for line in rest.splitlines() if line.strip()], name.split()[1:])
        if b"%" not in name:
            return VoxelFiles((self.path.parent / os.fsdecode(name),))
        series = _PATTERN.fullmatch(name)
        if series is None:
            raise ValueError("its header names files by a pattern that is none")
        first, last, step, *n_axes = series[2].split()
        return self._files(
            [series[1] % number for number in _numbers(int(first), int(last), int(step))], n_axes
        )

    def _files(self, names: Sequence[bytes], n_axes: Sequence[bytes]) -> VoxelFiles:
        return VoxelFiles(
            tuple(self.path.parent / os.fsdecode(name) for name in names), int(n_axes[0]) if n_axes else 0
        )

    def _found(self, field: bytes) -> list[re.Match[bytes]]:
        if self.is_nrrd:
            return list(re.finditer(rb"(?mi)^%b[ \t]*:([^\r\n]*)" % field, self.text))
        end = re.search(rb"(?m)^[ \t]*ElementDataFile[ \t]*[=:][^\r\n]*", self.text)
        fields = self.text if end is None else self.text[: end.end()]
        return list(re.finditer(rb"(?m)^[ \t]*%b[ \t]*[=:]([^\r\n]*)" % field, fields))


def voxels_apart(path: Path) -> tuple[Path, ...]:
    """Return the files that a header names for its voxels, whatever its ending; none of other formats.

    Raises
    ------
    ValueError, OSError
        See `ItkHeader.voxel_files`.
    """
    files = ItkHeader.of(path).voxel_files() if format_of(path) == "itk" else None
    return () if files is None else files.paths


def has_voxels_apart(path: Path) -> bool:
    """Whether a file is, or may be, a header whose voxels are in other files; `OSError` if it cannot be read."""
    try:
        return bool(voxels_apart(path))
    except ValueError:
        return True


def holds_segments(path: Path) -> bool:
    """Whether a file is a segmentation of 3D Slicer, by the keys of its own in the header of a NRRD."""
    return _is_nrrd(path) and bool(_SEGMENT.search(ItkHeader.of(path).text))


def _is_nrrd(path: Path) -> bool:
    return path.suffix.lower() in (".nrrd", ".nhdr")


def _numbers(first: int, last: int, step: int) -> range:
    """Return the numbers of files, the last among them."""
    numbers = range(first, last + (1 if step > 0 else -1), step)
    if len(numbers) > _MOST_FILES:
        raise ValueError("its header names too many files")
    return numbers

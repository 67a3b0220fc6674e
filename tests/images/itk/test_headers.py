"""The text at the beginning of a NRRD or MetaImage file."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from napari_dinoad.images.itk.headers import ItkHeader, has_voxels_apart

VOXELS = b"\n\n\r\n\r\nElementDataFile = LOCAL\n" * 40_000
"""They may hold whatever ends a header."""


def header_of(suffix, n_bytes, line_end):
    """Return a header of so many bytes."""
    first, last = {
        ".nrrd": (b"NRRD0004", line_end * 2),
        ".mha": (b"ObjectType = Image", line_end + b"ElementDataFile = LOCAL" + line_end),
    }[suffix]
    start = first + line_end + b"Comment:"
    return start + b"x" * (n_bytes - len(start) - len(last)) + last


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"], ids=["Unix", "Windows"])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_a_header_is_whole_however_long_it_is(tmp_path, suffix, line_end):
    path = tmp_path / f"scan{suffix}"
    for n_bytes in (100, *range(2**16 - 3, 2**16 + 30), 2**17, 2**20):
        header = header_of(suffix, n_bytes, line_end)
        path.write_bytes(header + VOXELS)
        found = ItkHeader.of(path)
        assert (found.text, found.place) == (header, n_bytes)


def test_of_a_large_file_little_is_read(tmp_path, monkeypatch):
    """A folder's thousands of files, each looked at several times, may lie on a network drive."""
    path = tmp_path / "scan.nrrd"
    path.write_bytes(header_of(".nrrd", 1000, b"\n") + VOXELS)
    read, open_file = [], Path.open

    class Counted(io.BytesIO):
        def read(self, size=-1):
            read.append(super().read(size))
            return read[-1]

    def counted(path, mode="r"):
        with open_file(path, mode) as stream:
            return Counted(stream.read())

    monkeypatch.setattr(Path, "open", counted)
    ItkHeader.of(path)
    assert 1000 < sum(map(len, read)) <= 2**16


@pytest.mark.parametrize("local", ["LOCAL", "Local", "local"])
def test_voxels_follow_a_header_that_says_so_in_any_of_itks_spellings(tmp_path, local):
    """Of two of them the voxels were looked for in a file of that name, and damage to them was not."""
    path = tmp_path / "scan.mha"
    header = f"ObjectType = Image\nElementDataFile = {local}\n".encode()
    path.write_bytes(header + bytes(24))
    assert not has_voxels_apart(path)
    assert ItkHeader.of(path).text == header

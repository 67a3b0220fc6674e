"""2D images of a folder as slices of one scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_dinoad.images.image_stacks import are_stackable
from napari_dinoad.images.scan_file import ScanFile


def image(path, shape=(4, 5)):
    return ScanFile(Path(path), "image", shape)


@pytest.mark.parametrize(
    ("scans", "are"),
    [
        ([image("eye/1.png"), image("eye/2.jpg")], True),
        ([image("eye/1.png")], False),
        ([image("a/1.png"), image("b/1.png")], False),
        ([image("eye/1.png"), image("eye/2.png", (5, 4))], False),
        ([image("eye/1.nrrd"), image("eye/2.nrrd")], False),
        ([image("eye/1.dcm"), image("eye/2.dcm")], False),
        ([ScanFile(Path("eye/1.png"), "volume", ()), ScanFile(Path("eye/2.png"), "volume", ())], False),
        ([], False),
    ],
    ids=str,
)
def test_pictures_of_one_folder_and_size_may_be_slices_of_one_scan(scans, are):
    """What cannot be stacked is not told of, nor asked for."""
    assert are_stackable(scans) == are

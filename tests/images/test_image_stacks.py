"""2D images of a folder as slices of one scan."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_dinoad.images.image_stacks import are_stackable, stacked
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


def test_each_size_is_a_scan_and_an_image_alone_stays_one():
    alone = image("eye/2.png", (9, 9))
    images = [
        alone,
        image("eye/10.png"),
        image("eye/9.png"),
        image("eye/1.png", (5, 4)),
        image("eye/3.png", (5, 4)),
    ]
    scans = stacked(images, Path("eye"))
    assert [(scan.name, scan.kind, scan.shape) for scan in scans[1:]] == [
        ("eye_4x5", "volume", (2, 4, 5)),
        ("eye_5x4", "volume", (2, 5, 4)),
    ]
    assert scans[0] is alone
    assert scans[1].images == (Path("eye/9.png"), Path("eye/10.png"))
    assert not any(scan.notes for scan in scans)


def test_a_stack_tells_how_many_of_its_images_could_not_be_read():
    (scan,) = stacked([image("eye/1.png"), image("eye/2.png")], Path("eye"), n_unreadable=3)
    assert scan.name == "eye"
    (note,) = scan.notes
    assert "3 ×" in note

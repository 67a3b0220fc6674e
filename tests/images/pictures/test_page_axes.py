"""Pages of a TIFF that are channels and time points: one of them is a scan."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.pictures.page_axes import volumes_of_pages
from napari_dinoad.images.readers import read_volume
from napari_dinoad.settings import ReadSettings

OME = {"ome": True}
IMAGEJ = {"imagej": True}


def microscopy(axes, lengths, dtype=np.uint8):
    """Return pixels whose axes have these lengths, all different."""
    shape = [lengths[axis] for axis in axes]
    return np.random.default_rng(0).integers(0, 250, shape).astype(dtype)


@pytest.mark.parametrize(
    ("axes", "program"),
    [
        ("ZCYX", OME), ("CZYX", OME), ("TZCYX", OME), ("TCZYX", OME), ("CTZYX", OME), ("TCYX", OME),
        ("ZCYX", IMAGEJ), ("TZYX", IMAGEJ), ("TZCYX", IMAGEJ), ("TCYX", IMAGEJ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_each_channel_and_time_point_is_a_frame(tmp_path, axes, program, dtype):
    """They were read as slices of one stack, in turn."""
    lengths = {"T": 2, "C": 3, "Z": 4, "Y": 9, "X": 8}
    pixels = microscopy(axes, lengths, dtype)
    path = tmp_path / "cells.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": axes}, photometric="minisblack", **program)
    missing = [i for i, axis in enumerate("TCZYX") if axis not in axes]
    order = [axes.index(axis) for axis in "TCZYX" if axis in axes]
    frames = np.expand_dims(pixels.transpose(order), missing)
    frames = frames.reshape(-1, *frames.shape[2:])  # channels count faster than time points
    with pytest.raises(ScanReadError, match=f"{len(frames)} frames.*--frame"):
        read_volume(path)
    for number, expected in enumerate(frames):
        volume = read_volume(path, frame=number)
        np.testing.assert_array_equal(volume.values, expected)
        assert f"Frame {number} of {len(frames)}" in volume.notes[0]
    with pytest.raises(ScanReadError, match=f"0 to {len(frames) - 1}, got {len(frames)}"):
        read_volume(path, frame=len(frames))


def test_a_folder_tells_of_channels_and_takes_the_one_that_is_named(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", np.ones((4, 2, 9, 8), np.uint8), imagej=True, metadata={"axes": "ZCYX"}
    )
    found = discover_scans(tmp_path)
    assert not found.scans
    assert "2 frames" in found.skipped[0].reason
    [scan] = discover_scans(tmp_path, ReadSettings(frame=1)).scans
    assert (scan.kind, scan.shape, scan.n_frames) == ("volume", (4, 9, 8), 2)


@pytest.mark.parametrize("program", [OME, IMAGEJ])
def test_slices_alone_stay_one_stack(tmp_path, program):
    pixels = np.random.default_rng(0).integers(0, 250, (5, 9, 8)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "ZYX"}, **program)
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.values, pixels)
    assert volume.notes == ()


@pytest.mark.parametrize(("axes", "kind"), [("CYX", "channels"), ("TYX", "time points")])
@pytest.mark.parametrize("program", [OME, IMAGEJ])
def test_pages_along_one_axis_are_a_stack_whatever_it_is_called(tmp_path, program, axes, kind):
    """Writers that are not told call the slices of a stack channels (tifffile does); that is told."""
    pixels = np.random.default_rng(0).integers(0, 250, (5, 9, 8)).astype(np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels, metadata={"axes": axes}, photometric="minisblack", **program)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.values, pixels)
    assert f"5 pages {kind}" in volume.notes[0]
    np.testing.assert_array_equal(read_volume(path, frame=3).values[0], pixels[3])


def test_colours_of_a_page_are_no_channels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 250, (5, 9, 8, 3)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, metadata={"axes": "ZYXS"}, photometric="rgb", ome=True)
    assert read_volume(tmp_path / "a.tif").values.shape == (5, 9, 8)


@pytest.mark.parametrize(
    "description",
    ["", "ImageJ=1.5\nchannels=2\nslices=4\n", "ImageJ=1.5\nchannels=0\nslices=x\n", "<OME><Pixels SizeC='2'/></OME>",
     '<OME><Pixels DimensionOrder="XYZZZ" SizeC="2" SizeZ="3" SizeT="1"/></OME>',
     '<OME><Pixels DimensionOrder="XYCZT" SizeC="0" SizeZ="0" SizeT="0"/></OME>'],
)  # fmt: skip
def test_a_description_that_says_nothing_of_these_pages_is_passed_over(description):
    assert volumes_of_pages(description, 6) == (tuple(range(6)),)


def test_images_that_imagej_keeps_behind_the_first_are_not_passed_over(tmp_path):
    """So it stores more than 4 GB: one page, and its text says how many follow."""
    pixels = np.ones((9, 8), np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, description="ImageJ=1.53\nimages=200\nslices=200\n", metadata=None
    )
    with pytest.raises(ScanReadError, match=r"200 images.*BigTIFF"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
@pytest.mark.parametrize("order", ["pc", "cp", "ppcc", "cpcp"])
def test_reduced_copies_among_the_pages_are_left_out(tmp_path, dtype, order):
    """Of 64-bit numbers by tifffile, of others by Pillow."""
    path, expected = tmp_path / "slide.tif", []
    with tifffile.TiffWriter(path) as tiff:
        for i, kind in enumerate(order):
            full = microscopy("YX", {"Y": 9, "X": 8}, dtype) + i
            tiff.write(full if kind == "p" else full[::3, ::3], subfiletype=int(kind == "c"), metadata=None)
            expected += [full] if kind == "p" else []
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.values, expected)
    assert volume.notes == (
        f"{order.count('c')} pages of the file are reduced copies (thumbnails) and were left out.",
    )
    np.testing.assert_array_equal(read_volume(path, frame=len(expected) - 1).values[0], expected[-1])
    [scan] = discover_scans(tmp_path).scans
    assert scan.shape == (expected[0].shape if len(expected) == 1 else np.shape(expected))


@pytest.mark.parametrize("kinds", ["cc", "pc"])
def test_pages_of_one_size_are_slices_also_if_called_copies(tmp_path, kinds):
    pixels = microscopy("ZYX", {"Z": 2, "Y": 9, "X": 8})
    with tifffile.TiffWriter(tmp_path / "slices.tif") as tiff:
        for page, kind in zip(pixels, kinds, strict=True):
            tiff.write(page, subfiletype=int(kind == "c"), metadata=None)
    np.testing.assert_array_equal(read_volume(tmp_path / "slices.tif").values, pixels)

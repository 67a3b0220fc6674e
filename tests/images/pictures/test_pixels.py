"""Pictures as they are stored: what is white, how deep, and which way round."""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from napari_dinoad.errors import ScanReadError, SettingError
from napari_dinoad.evaluation.truths import read_truth
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.values.intensity import intensity_range
from napari_dinoad.settings import PRESETS

AS_STORED = PRESETS["image-2d"]


@pytest.fixture
def grey():
    """An 8-bit picture that uses its whole range."""
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
    pixels[0, 0], pixels[6, 8] = 0, 255
    return pixels


def model_input(volume):
    """Return values as a model of pictures sees them, 0 to 1."""
    low, high = intensity_range(volume, np.ones(volume.values.shape, bool), AS_STORED)
    return (volume.values[0] - low) / (high - low)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("factor", "white"), [(16, 4095), (257, 65535)])
def test_pictures_of_any_depth_are_equally_bright(tmp_path, grey, suffix, factor, white):
    path = tmp_path / f"a{suffix}"
    Image.fromarray(grey.astype(np.uint16) * factor).save(path)
    volume = read_volume(path)
    assert volume.full_scale == white
    np.testing.assert_allclose(model_input(volume), grey / 255, atol=0.005)
    assert [note for note in volume.notes if "12-bit" in note] == list(volume.notes)
    assert len(volume.notes) == (factor == 16), "a depth that was guessed is told"


def test_all_pictures_of_a_12_bit_device_have_one_scale(tmp_path, grey):
    """A depth between 8 and 12 bits, guessed from the brightest pixel, would make dim pictures bright."""
    for peak in (300, 900, 4095):
        Image.fromarray((grey / 255 * peak).astype(np.uint16)).save(tmp_path / "a.png")
        assert read_volume(tmp_path / "a.png").full_scale == 4095


def test_a_stack_has_one_scale(tmp_path, grey):
    pages = np.stack([grey.astype(np.uint16), grey.astype(np.uint16) * 200])
    tifffile.imwrite(tmp_path / "a.tif", pages, photometric="minisblack")
    volume = read_volume(tmp_path / "a.tif")
    assert volume.full_scale == 65535
    assert volume.notes == ()


@pytest.mark.parametrize("order", ["<", ">"])
def test_signed_16_bit_pictures(tmp_path, grey, order):
    path = tmp_path / "a.tif"
    pixels = grey.astype(np.int16) * 16
    tifffile.imwrite(path, pixels, byteorder=order)
    assert read_volume(path).full_scale == 4095
    np.testing.assert_array_equal(read_volume(path).values[0], pixels)
    tifffile.imwrite(path, pixels * 8, byteorder=order)
    assert read_volume(path).full_scale == 32767
    tifffile.imwrite(path, pixels - 100, byteorder=order)
    volume = read_volume(path)
    assert volume.values.min() == -100
    with pytest.raises(SettingError, match="as-stored: expected 8 or 16 bit"):
        model_input(volume)


@pytest.mark.parametrize(("factor", "white"), [(1, 255), (16, 4095), (257, 65535)])
def test_low_may_be_white(tmp_path, grey, factor, white):
    dtype = np.uint8 if factor == 1 else np.uint16
    stored = (white - grey.astype(np.int64) * factor).astype(dtype)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="miniswhite")
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_array_equal(volume.values[0], grey.astype(np.float32) * factor)
    np.testing.assert_allclose(model_input(volume), grey / 255, atol=0.005)


def test_low_as_white_without_a_black_is_refused(tmp_path, grey):
    tifffile.imwrite(tmp_path / "a.tif", grey.astype(np.float32), photometric="miniswhite")
    with pytest.raises(ScanReadError, match=r"a\.tif: low values are white"):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif", "_lzw.tif", ".jpg"])
def test_the_stored_grid_is_kept_however_it_is_to_be_shown(tmp_path, grey, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    how = {"_lzw.tif": {"compression": "tiff_lzw"}, ".jpg": {"quality": 100}}.get(suffix, {})
    Image.fromarray(grey).save(path, exif=exif, **how)
    volume = read_volume(path)
    np.testing.assert_allclose(volume.values[0], grey, atol=3 if suffix == ".jpg" else 0)
    assert len(volume.notes) == (orientation > 1)
    assert all("shown turned or mirrored" in note for note in volume.notes)
    (scan,) = discover_scans(tmp_path).scans
    assert scan.shape == grey.shape
    if suffix.endswith(".tif"):
        np.testing.assert_array_equal(read_truth(path, volume)[0], grey > 0)


def test_the_pictures_of_a_stack_that_ask_to_be_turned_are_counted(tmp_path, grey):
    for number, orientation in enumerate((1, 6, 6)):
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        Image.fromarray(grey).save(tmp_path / f"{number}.png", exif=exif)
    assert any(
        note.startswith("2 of 3 pictures ask to be shown turned") for note in read_volume(tmp_path).notes
    )


@pytest.mark.filterwarnings("ignore:.*EXIF:UserWarning")  # Pillow's own
def test_damage_to_exif_is_no_damage_to_the_picture(tmp_path, grey):
    Image.fromarray(grey).save(tmp_path / "a.jpg", quality=100, exif=b"Exif\x00\x00no tiff header here")
    volume = read_volume(tmp_path / "a.jpg")
    assert volume.notes == ()
    np.testing.assert_allclose(volume.values[0], grey, atol=3)


LUMA = np.array([0.299, 0.587, 0.114])


def deep_colour(n_channels, seed=0):
    """Return pixels whose low bytes matter too."""
    return np.random.default_rng(seed).integers(0, 65536, (7, 9, n_channels)).astype(np.uint16)


def expected_grey(pixels):
    return pixels[..., 0] if pixels.shape[-1] == 2 else pixels[..., :3] @ LUMA


@pytest.mark.parametrize("n_channels", [2, 3, 4])
def test_16_bit_colour_png_keeps_its_bits(tmp_path, n_channels):
    """Pillow reads the high bytes alone; two channels are grey and alpha."""
    sitk = pytest.importorskip("SimpleITK")
    pixels = deep_colour(n_channels)
    sitk.WriteImage(sitk.GetImageFromArray(pixels, isVector=True), str(tmp_path / "a.png"))
    volume = read_volume(tmp_path / "a.png")
    np.testing.assert_allclose(volume.values[0], expected_grey(pixels), atol=0.02)
    assert volume.full_scale == 65535


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("layout", ["contig", "separate", "alpha"])
def test_16_bit_colour_tiff_keeps_its_bits(tmp_path, byteorder, compression, layout):
    pages = [deep_colour(4 if layout == "alpha" else 3, seed) for seed in range(2)]
    extra = {"extrasamples": ("unassalpha",)} if layout == "alpha" else {}
    with tifffile.TiffWriter(tmp_path / "a.tif", byteorder=byteorder) as writer:
        for page in pages:
            stored = np.moveaxis(page, -1, 0) if layout == "separate" else page
            planes = "separate" if layout == "separate" else "contig"
            writer.write(stored, photometric="rgb", compression=compression, planarconfig=planes, **extra)
    volume = read_volume(tmp_path / "a.tif")
    np.testing.assert_allclose(volume.values, [expected_grey(page) for page in pages], atol=0.02)
    assert volume.full_scale == 65535


@pytest.mark.parametrize("byteorder", "<>")
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("kind", ["float64", "float16", "int64", "uint32", "int32", "int8", "float32"])
def test_tiff_of_any_type_of_number_is_read_as_stored(tmp_path, kind, compression, byteorder):
    rng = np.random.default_rng(0)
    if kind.startswith("float"):
        pixels = rng.normal(size=(3, 7, 9)).astype(kind)
    else:
        limits = np.iinfo(kind)
        pixels = rng.integers(max(limits.min, -(2**40)), min(limits.max, 2**40), (3, 7, 9), dtype=kind)
    tifffile.imwrite(
        tmp_path / "a.tif", pixels, photometric="minisblack", compression=compression, byteorder=byteorder
    )
    (scan,) = discover_scans(tmp_path).scans
    assert scan.shape == (3, 7, 9)
    volume = scan.read()
    np.testing.assert_array_equal(volume.values, pixels.astype(np.float32))
    assert volume.full_scale is None
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif", frame=1).values[0], volume.values[1])
    np.testing.assert_array_equal(read_truth(tmp_path / "a.tif", volume), pixels > 0)


def test_compressed_signed_16_bits_of_the_other_byte_order(tmp_path):
    pixels = np.random.default_rng(0).integers(-3000, 3000, (7, 9)).astype(np.int16)
    tifffile.imwrite(tmp_path / "a.tif", pixels, photometric="minisblack", compression="zlib", byteorder=">")
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").values[0], pixels)


@pytest.mark.skipif(find_spec("imagecodecs") is not None, reason="imagecodecs is there")
def test_a_tiff_that_only_imagecodecs_unpacks_says_what_to_install(tmp_path, grey):
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, grey)
    with tifffile.TiffFile(path, mode="r+b") as tiff:
        tiff.pages.first.tags["Compression"].overwrite(tifffile.COMPRESSION.JPEG2000)
    with pytest.raises(ScanReadError, match=r"a\.tif: compressed .*\(JPEG2000\).*pip install imagecodecs"):
        read_volume(path)


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float64"])
@pytest.mark.parametrize("planes", ["contig", "separate"])
@pytest.mark.parametrize("n_values", [2, 3, 5])
def test_pixels_of_several_values_that_are_no_colour_are_refused(tmp_path, kind, planes, n_values):
    """They are slices or channels, of which the first, or the first three as a colour, would be taken."""
    slices = np.random.default_rng(0).integers(0, 99, (n_values, 7, 9)).astype(kind)
    stored = slices if planes == "separate" else np.moveaxis(slices, 0, -1)
    folder = tmp_path / "stack"
    folder.mkdir()
    for name in ("a.tif", "b.tif"):
        tifffile.imwrite(folder / name, stored, photometric="minisblack", planarconfig=planes)
    told = rf"a\.tif: {n_values} values of each pixel that are no colour"
    for path in (folder / "a.tif", folder):
        with pytest.raises(ScanReadError, match=told):
            read_volume(path)
    assert "no colour" in discover_scans(folder).skipped[0].reason


@pytest.mark.parametrize("kind", ["uint8", "uint16", "float64"])
def test_grey_beside_alpha_in_tiff_is_grey(tmp_path, kind):
    grey, alpha = np.random.default_rng(0).integers(0, 99, (2, 7, 9)).astype(kind)
    stored = np.stack([grey, alpha], axis=-1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric="minisblack", extrasamples=("unassalpha",))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.tif").values[0], grey)


def test_slices_in_one_page_of_a_tiff_are_refused(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 99, (16, 32, 32)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", pixels, volumetric=True, tile=(16, 16, 16), photometric="minisblack")
    with pytest.raises(ScanReadError, match=r"a\.tif: 16 slices in one page; expected one in each\."):
        read_volume(tmp_path / "a.tif")


@pytest.mark.parametrize("kind", ["int32", "uint32", "int64"])
def test_tiff_of_more_than_16_bits_is_none_of_12(tmp_path, kind):
    tifffile.imwrite(tmp_path / "a.tif", np.arange(63, dtype=kind).reshape(7, 9), photometric="minisblack")
    volume = read_volume(tmp_path / "a.tif")
    assert (volume.full_scale, volume.notes) == (None, ())

"""Real files in: NIfTI of many kinds, 2D images, and files that are broken."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from dicom_files import ct_values, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.nifti_files import read_labels
from napari_dinoad.images.readers import read_volume
from napari_dinoad.settings import ReadSettings


def save(path, array, affine=None, **header):
    image = nib.Nifti1Image(array, np.diag([-2.0, 2.0, 3.0, 1.0]) if affine is None else affine)
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


@pytest.fixture
def ramp():
    return np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_values_and_grid(tmp_path, ramp, suffix):
    volume = read_volume(save(tmp_path / f"a.b{suffix}", ramp))
    assert volume.name == "a.b"
    assert volume.values.shape == (6, 5, 4)
    assert volume.values.dtype == np.float32
    np.testing.assert_array_equal(volume.values[:, :, ::-1], ramp.transpose(2, 1, 0))
    assert volume.geometry.shape == ramp.shape
    np.testing.assert_array_equal(volume.geometry.affine, np.diag([-2.0, 2.0, 3.0, 1.0]))


def test_what_was_read_does_not_change_with_the_file(tmp_path, ramp):
    """Where it lay in the file as it does in memory it was the file: one cut short meanwhile ended the process."""
    path = save(tmp_path / "a.nii", ramp.astype(np.float32), np.eye(4))
    for read in (read_volume, read_labels):
        volume = read(path)
        content = path.read_bytes()
        path.write_bytes(bytes(len(content)))
        np.testing.assert_array_equal(volume.values, ramp.transpose(2, 1, 0))
        path.write_bytes(content)


def test_slope_and_intercept_are_applied(tmp_path, ramp):
    image = nib.Nifti1Image(ramp, np.eye(4))
    image.header.set_slope_inter(0.5, -1024)
    nib.save(image, tmp_path / "ct.nii.gz")
    stored = nib.load(tmp_path / "ct.nii.gz").get_fdata()
    volume = read_volume(tmp_path / "ct.nii.gz")
    np.testing.assert_allclose(volume.values, stored.transpose(2, 1, 0))


def test_8_bit_nifti_knows_its_white(tmp_path, ramp):
    assert read_volume(save(tmp_path / "a.nii", ramp.astype(np.uint8))).full_scale == 255
    assert read_volume(save(tmp_path / "b.nii", ramp)).full_scale is None


def test_2d_nifti(tmp_path):
    volume = read_volume(save(tmp_path / "a.nii.gz", np.arange(20, dtype=np.float32).reshape(4, 5)))
    assert volume.is_2d
    assert volume.geometry.shape == (4, 5)


def test_4d_needs_a_frame(tmp_path, ramp):
    series = np.stack([ramp, ramp + 100], axis=-1)
    path = save(tmp_path / "series.nii.gz", series)
    with pytest.raises(ScanReadError, match="series of 2 frames"):
        read_volume(path)
    volume = read_volume(path, frame=1)
    assert volume.values.min() == 100
    with pytest.raises(ScanReadError, match="0 to 1"):
        read_volume(path, frame=2)


def test_rgb_nifti_has_its_grey(tmp_path):
    rgb = np.zeros((3, 4, 5), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["G"][1:] = 200
    volume = read_volume(save(tmp_path / "rgb.nii.gz", rgb, np.eye(4)))
    assert volume.values.max() == pytest.approx(0.587 * 200)


@pytest.mark.parametrize("lowest", [-1024, -2.5, 7])
def test_not_finite_voxels_become_the_lowest_value(tmp_path, lowest):
    """0 would be water in CT, and average brain after a z-score."""
    values = np.linspace(lowest, 50, 27, dtype=np.float32).reshape(3, 3, 3)
    values[1, 0, 0], values[1, 1, 1], values[2, 2, 0] = np.nan, np.inf, -np.inf
    volume = read_volume(save(tmp_path / "a.nii", values, np.eye(4)))
    filled = volume.geometry.to_stored(volume.values)
    np.testing.assert_array_equal(filled, np.where(np.isfinite(values), values, np.float32(lowest)))
    assert volume.values.dtype == np.float32
    assert volume.notes == (f"3 voxels without a finite value were set to the lowest value, {lowest:g}.",)


def test_nothing_finite_is_no_signal(tmp_path):
    with pytest.raises(ScanReadError, match="no voxel has a finite value"):
        read_volume(save(tmp_path / "a.nii", np.full((3, 3, 3), np.nan, np.float32)))


def test_not_finite_pixels_of_a_stack_are_filled_however_it_is_read(tmp_path):
    for number in range(2):
        pixels = np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5)
        pixels[2, 2] = np.nan
        tifffile.imwrite(tmp_path / f"{number}.tif", pixels)
    (scan,) = discover_scans(tmp_path, ReadSettings(stack_folders=True)).scans
    for volume in (scan.read(), read_volume(tmp_path)):
        assert np.isfinite(volume.values).all()
        assert volume.notes[-1].startswith("2 voxels without a finite value")


def test_truncated_file_is_named(tmp_path, ramp):
    path = save(tmp_path / "cut.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20)))
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(ScanReadError, match=r"cut\.nii\.gz.*(damaged|not a readable)"):
        read_volume(path)


def test_text_file_named_nii(tmp_path):
    path = tmp_path / "notes.nii"
    path.write_text("not a scan\n" * 50)
    with pytest.raises(ScanReadError, match="not a readable NIfTI"):
        read_volume(path)


@pytest.mark.parametrize("value", [0, 7])
def test_constant_scan_has_no_signal(tmp_path, value):
    path = save(tmp_path / "flat.nii.gz", np.full((4, 4, 4), value, dtype=np.int16))
    with pytest.raises(ScanReadError, match="no signal"):
        read_volume(path)


def test_missing_and_unknown(tmp_path):
    with pytest.raises(ScanReadError, match="no such file"):
        read_volume(tmp_path / "none.nii.gz")
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(ScanReadError, match="ending is not known"):
        read_volume(tmp_path / "a.txt")


@pytest.mark.parametrize("suffix", [".png", ".tif", ".bmp"])
def test_8_bit_grey_images_as_they_are(tmp_path, suffix):
    pixels = np.random.default_rng(0).integers(0, 256, (7, 9), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / f"a{suffix}")
    volume = read_volume(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(volume.values[0], pixels)
    assert volume.full_scale == 255
    assert not volume.geometry.is_physical


def test_colour_alpha_palette_and_jpeg_become_grey(tmp_path):
    pixels = np.zeros((8, 8, 4), dtype=np.uint8)
    pixels[2:6, 2:6] = (255, 0, 0, 128)
    Image.fromarray(pixels).save(tmp_path / "rgba.png")
    Image.fromarray(pixels[..., :3]).convert("P").save(tmp_path / "palette.png")
    Image.fromarray(pixels[..., :3]).save(tmp_path / "c.jpeg", quality=100, subsampling=0)
    for name in ("rgba.png", "palette.png", "c.jpeg"):
        assert read_volume(tmp_path / name).values[0, 3, 3] == pytest.approx(0.299 * 255, abs=3)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_images(tmp_path, suffix):
    pixels = np.linspace(0, 65535, 48).astype(np.uint16).reshape(6, 8)
    path = tmp_path / f"deep{suffix}"
    if suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        tifffile.imwrite(path, pixels)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.values[0], pixels)
    assert volume.full_scale == 65535


def test_float_tiff(tmp_path):
    tifffile.imwrite(tmp_path / "f.tif", np.linspace(0, 1, 20, dtype=np.float32).reshape(4, 5))
    volume = read_volume(tmp_path / "f.tif")
    assert volume.full_scale is None
    assert volume.values.max() == 1


def test_broken_images_and_animations_are_named(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + b"x" * 30)
    with pytest.raises(ScanReadError, match="not a readable image"):
        read_volume(tmp_path / "broken.png")
    pages = [Image.fromarray(np.full((8, 8), grey, np.uint8)) for grey in (0, 90, 200)]
    pages[0].save(tmp_path / "film.png", save_all=True, append_images=pages[1:])
    with pytest.raises(ScanReadError, match="3 pages"):
        read_volume(tmp_path / "film.png")


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_the_pages_of_a_tiff_are_slices(tmp_path, dtype):
    pages = np.random.default_rng(0).uniform(0, 200, (3, 8, 10)).astype(dtype)
    tifffile.imwrite(tmp_path / "b_scans.tif", pages, photometric="minisblack")
    volume = read_volume(tmp_path / "b_scans.tif")
    np.testing.assert_array_equal(volume.values, pages)
    assert volume.geometry.shape == (3, 8, 10)
    assert not volume.geometry.is_physical
    assert volume.full_scale == {np.uint8: 255, np.uint16: 4095}.get(dtype)
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), pages)
    assert volume.geometry.canonical_to_stored_index(np.array([2, 5, 7])).tolist() == [2, 5, 7]
    page = read_volume(tmp_path / "b_scans.tif", frame=1)
    np.testing.assert_array_equal(page.values[0], pages[1])
    with pytest.raises(ScanReadError, match="0 to 2"):
        read_volume(tmp_path / "b_scans.tif", frame=3)


def test_pages_of_several_sizes_say_that_one_can_be_chosen(tmp_path):
    """The levels of a whole slide, in TIFF by a scanner that does not call them reduced."""
    path = tmp_path / "slide.tif"
    for size in (40, 20, 10):
        tifffile.imwrite(path, np.arange(size**2, dtype=np.uint8).reshape(size, size), append=path.exists())
    with pytest.raises(
        ScanReadError, match=r"got 10 × 10, 20 × 20, 40 × 40 pixels\. Choose one page with --frame"
    ):
        read_volume(path)
    assert read_volume(path, frame=1).values.shape == (1, 20, 20)


def test_the_images_of_a_folder_are_slices_in_natural_order(tmp_path):
    for number in (1, 2, 10):
        Image.fromarray(np.full((6, 7), number, np.uint8)).save(tmp_path / f"b{number}.png")
    volume = read_volume(tmp_path)
    assert volume.values[:, 0, 0].tolist() == [1, 2, 10]
    assert "3 images" in volume.notes[0]
    Image.fromarray(np.zeros((6, 9), np.uint8)).save(tmp_path / "b3.png")
    with pytest.raises(ScanReadError, match=r"one size.*Name a file to read it alone"):
        read_volume(tmp_path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".mgz", ".png", ".jpg", ".tif", ".nrrd", ".mha"])
def test_dicom_with_the_ending_of_another_format_is_told_as_dicom(tmp_path, suffix):
    if suffix in (".nrrd", ".mha"):
        pytest.importorskip("SimpleITK")
    [dataset] = series_datasets(ct_values(1))
    path = tmp_path / f"a{suffix}"
    dataset.save_as(path, enforce_file_format=True)
    with pytest.raises(ScanReadError, match=r"not a readable .*Its content is DICOM: .* ending \.dcm"):
        read_volume(path)
    assert "Its content is DICOM" in discover_scans(tmp_path).skipped[0].reason

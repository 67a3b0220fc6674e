"""Percentiles of a scan's intensities."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_dinoad.errors import SettingError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.slices import prepare_scan
from napari_dinoad.images.values import intensity
from napari_dinoad.images.values.intensity import darkness_note, intensity_range, sample_inside
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.settings import preset


def test_a_small_scan_gives_all_of_its_body():
    values = np.arange(24.0).reshape(2, 3, 4)
    body = values % 5 == 0
    assert np.array_equal(sample_inside(values, body), [0, 5, 10, 15, 20])


@pytest.mark.parametrize("shape", [(30, 60, 60), (31, 64, 48), (1, 300, 400)])
def test_a_large_scan_gives_voxels_of_all_rows_columns_and_slices(shape, monkeypatch):
    monkeypatch.setattr(intensity, "_SAMPLED_VOXELS", 20_000)
    for axis, n in enumerate(shape):
        place = np.broadcast_to(
            np.indices((n,))[0].reshape([-1 if a == axis else 1 for a in range(3)]), shape
        )
        sample = sample_inside(np.ascontiguousarray(place), np.ones(shape, bool))
        assert 10_000 < len(sample) <= 20_000 or len(sample) * 2 > place.size
        share = np.bincount(sample, minlength=n) / len(sample)
        np.testing.assert_allclose(share, 1 / n, rtol=0.2)


def test_percentiles_of_a_large_scan_are_near_those_of_all_its_voxels(monkeypatch):
    monkeypatch.setattr(intensity, "_SAMPLED_VOXELS", 100_000)
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 3.0, (60, 100, 100))
    body = rng.random(values.shape) < 0.7
    ranks = [
        np.mean(values[body] < cut) for cut in np.percentile(sample_inside(values, body), (0.5, 50, 99.5))
    ]
    np.testing.assert_allclose(ranks, (0.005, 0.5, 0.995), atol=0.005)


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_the_range_is_that_of_numpys_percentiles_inside_the_body(dtype):
    rng = np.random.default_rng(0)
    values = rng.gamma(2.0, 300.0, (9, 40, 50)).astype(dtype)
    volume = Volume(values, Geometry((50, 40, 9), np.eye(4)))
    body = rng.random(values.shape) < 0.7
    settings = preset("mr-brain")
    assert intensity_range(volume, body, settings) == tuple(np.percentile(values[body], settings.percentiles))


@pytest.mark.parametrize(("brightest", "is_dark"), [(150.0, False), (-600.0, False), (-1300.0, True)])
def test_a_window_of_lungs_below_0_is_not_black(brightest, is_dark):
    values = np.full((1, 8, 8), -1350.0, np.float32)
    values[0, 2:6, 2:6] = brightest
    volume = Volume(values, Geometry((8, 8, 1), np.eye(4)))
    window = intensity_range(volume, np.ones(values.shape, bool), preset("ct-chest"))
    assert window == (-1350, 150)
    assert bool(darkness_note(volume, window)) == is_dark


@pytest.mark.parametrize(
    ("low", "high", "is_taken"), [(0, 1, True), (0.2, 0.7, True), (-1e-3, 1, False), (0, 1.001, False)]
)
def test_values_from_0_to_1_are_taken_as_stored(low, high, is_taken):
    values = np.linspace(low, high, 64, dtype=np.float32).reshape(1, 8, 8)
    volume = Volume(values, Geometry.of_pixels((8, 8)))
    if is_taken:
        assert intensity_range(volume, np.ones(values.shape, bool), preset("bmad")) == (0, 1)
    else:
        with pytest.raises(SettingError, match="values within 0 to 1"):
            intensity_range(volume, np.ones(values.shape, bool), preset("bmad"))


def save_picture(path, pixels):
    if path.suffix == ".nii":
        nib.save(nib.Nifti1Image(pixels, np.eye(4)), path)
    elif path.suffix == ".png":
        Image.fromarray(pixels).save(path)
    else:
        sitk = pytest.importorskip("SimpleITK")
        sitk.WriteImage(sitk.GetImageFromArray(pixels), str(path))


@pytest.mark.parametrize("suffix", [".nii", ".nrrd", ".mha", ".png"])
@pytest.mark.parametrize(
    ("dtype", "brightest"),
    [(np.uint8, 12), (np.uint8, 200), *((np.uint16, value) for value in (200, 1529, 4095, 4200, 65535))],
)
@pytest.mark.parametrize("name", ["image-2d", "bmad", "mr-brain", "oct", "ct-head"])
def test_what_a_model_sees_nearly_black_is_told(tmp_path, suffix, dtype, brightest, name):
    pixels = np.zeros((40, 48), dtype)
    pixels[8:32, 8:40] = np.random.default_rng(0).uniform(0.3, 1, (24, 32)) * brightest
    pixels[16:24, 16:24] = brightest
    save_picture(tmp_path / f"a{suffix}", pixels)
    prepared = prepare_scan(read_volume(tmp_path / f"a{suffix}"), preset(name), 64)
    note = darkness_note(prepared.volume, prepared.intensity)
    is_dark = prepared.images(prepared.indices).max() < 1 / 16
    assert bool(note) == is_dark
    if is_dark:
        assert f"brightest value is {brightest} where " in note
    if suffix in (".nii", ".nrrd", ".mha") and name in ("image-2d", "bmad") and dtype == np.uint16:
        assert is_dark == (brightest <= 4095)

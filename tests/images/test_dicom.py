"""DICOM in: series that the tests write themselves, whole and with every fault."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_files import ct_values, enhanced_dataset, save_all, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.readers import read_volume


def expected_affine(spacing=(0.5, 0.5), gap=2.0, origin=(-3.0, -4.0, 5.0)):
    """Return the affine (column, row, slice) → RAS of an axial series, from the standard's own formula."""
    row_mm, column_mm = spacing
    return np.array(
        [[-column_mm, 0, 0, -origin[0]], [0, -row_mm, 0, -origin[1]], [0, 0, gap, origin[2]], [0, 0, 0, 1]]
    )


def world_of(affine, index):
    return affine[:3, :3] @ index + affine[:3, 3]


def test_a_classic_series_in_any_order_under_any_name(tmp_path):
    values = ct_values()
    paths = save_all(series_datasets(values, RescaleSlope=2, RescaleIntercept=-1000), tmp_path / "head")
    volume = read_volume(tmp_path / "head")
    assert volume.name == "head"
    assert volume.geometry.shape == (12, 10, 6)
    slices = volume.geometry.to_stored(volume.values).transpose(2, 1, 0)
    order = [list(volume.dicom_files).index(path) for path in paths]
    np.testing.assert_array_equal(slices[order], 2.0 * values - 1000)
    for k, path in enumerate(volume.dicom_files):
        number = paths.index(path)
        np.testing.assert_allclose(
            world_of(volume.geometry.affine, [3, 4, k]),
            world_of(expected_affine(), [3, 4, number]),
            atol=1e-5,
        )
    assert volume.notes == ()
    from_one_file = read_volume(paths[3])
    np.testing.assert_array_equal(from_one_file.values, volume.values)
    assert from_one_file.name == "head"


def test_enhanced_multi_frame(tmp_path):
    values = ct_values()
    [path] = save_all([enhanced_dataset(values)], tmp_path)
    volume = read_volume(path)
    assert volume.dicom_files == (path,)
    rescaled = np.stack([(1 + i) * one.astype(float) - 10 * i for i, one in enumerate(values)])
    for k in range(6):
        number = round((world_of(volume.geometry.affine, [0, 0, k])[2] - 5) / 2)
        stored = volume.geometry.to_stored(volume.values)[..., k].T
        np.testing.assert_array_equal(stored, rescaled[number])
    assert [(w.low, w.high) for w in volume.display_windows] == [(0, 80), (-800, 2000)]


def test_a_missing_slice_is_refused_and_can_be_bridged(tmp_path):
    values = ct_values(n=8)
    datasets = series_datasets(values)
    del datasets[3]
    save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError, match=r"1 missing slices: .*2\.00 mm apart, but 4\.00 mm .*--resample"):
        read_volume(tmp_path)
    volume = read_volume(tmp_path, resample=True)
    assert volume.is_resampled
    assert "Resampled from 7 slices to 8" in volume.notes[0]
    z = [round((world_of(volume.geometry.affine, [0, 0, k])[2] - 5) / 2) for k in range(8)]
    stored = volume.geometry.to_stored(volume.values).transpose(2, 1, 0)[np.argsort(z)]
    for k in (0, 1, 2, 4, 5, 6, 7):
        np.testing.assert_array_equal(stored[k], values[k])
    np.testing.assert_allclose(stored[3], (values[2].astype(float) + values[4]) / 2, atol=1e-3)

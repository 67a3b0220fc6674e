"""Real CT series: against dcm2niix, an independent converter, and one that no reader should take as even."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from dicom_files import converted_by_dcm2niix
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.readers import read_volume

SHARED = Path(os.environ.get("DINOAD_SHARED", Path(__file__).resolve().parents[3].parent / "shared"))
EVEN = SHARED / "data" / "dicom" / "ct_head_5mm"
UNEVEN = SHARED / "data" / "dicom" / "ct_head_uneven"


def require(folder):
    if not folder.is_dir():
        pytest.skip(f"needs the real series {folder.name} (development data that is not part of the project)")
    return folder


@pytest.fixture
def shuffled(tmp_path):
    """A copy of the even series in random order under random names without ending."""
    names = np.random.default_rng(4).permutation(10**6)
    (tmp_path / "in").mkdir()
    for path, name in zip(sorted(require(EVEN).iterdir()), names, strict=False):
        shutil.copyfile(path, tmp_path / "in" / f"1.2.840.{name}")
    return tmp_path / "in"


def test_equal_to_dcm2niix(shuffled, tmp_path):
    expected = converted_by_dcm2niix(shuffled, tmp_path / "out")
    volume = read_volume(shuffled)
    np.testing.assert_array_equal(volume.values.transpose(2, 1, 0), expected.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(volume.geometry.canonical_affine, expected.affine, atol=1e-4)


def test_equal_to_simpleitk(shuffled):
    sitk = pytest.importorskip("SimpleITK")
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(shuffled)))
    image = sitk.DICOMOrient(reader.Execute(), "LPS")
    volume = read_volume(shuffled)
    # LPS order has x and y the other way round than the canonical RAS order.
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image)[:, ::-1, ::-1], volume.values)
    assert volume.geometry.spacing == pytest.approx(image.GetSpacing()[::-1], abs=1e-5)
    assert [(w.low, w.high) for w in volume.display_windows] == [(0, 80)]


def test_an_uneven_tilted_series_is_refused_with_its_gaps(tmp_path):
    with pytest.raises(ScanReadError) as refused:
        read_volume(require(UNEVEN))
    message = str(refused.value)
    for told in ("13 × 7.00 mm", "1 × 1.08 mm", "13 × 4.00 mm", "tilted gantry", "18.5°", "--resample"):
        assert told in message
    volume = read_volume(UNEVEN, resample=True)
    assert volume.geometry.spacing[0] == pytest.approx(4.0019, abs=1e-3)
    assert "Resampled from 28 slices to 37" in volume.notes[0]
    step = volume.geometry.affine[:3, :3]
    np.testing.assert_allclose(step.T @ step, np.diag(np.diag(step.T @ step)), atol=1e-4)

"""However a scan is stored: the same anomaly values at the same world points, on the scan's own grid."""

from __future__ import annotations

import itertools
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, inv_ornt_aff, io_orientation, ornt_transform
from scipy import ndimage

from napari_dinoad import read_volume
from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.settings import DetectSettings, FitSettings, MemoryBankSettings, preset

SETTINGS = FitSettings(
    scorer="memory-bank",
    preprocessing=replace(preset("mr-brain"), resolution_px=160),
    memory_bank=MemoryBankSettings(n_patches=1500),
)

CODES = [
    "".join(signs)
    for pairs in itertools.permutations(("RL", "AP", "SI"))
    for signs in itertools.product(*pairs)
]
"""All 48 orientations, as nibabel names them."""

SLICES = [7, 9]


@pytest.fixture(scope="module")
def detector(normal_folder):
    return Detector(fit_folder(normal_folder, SETTINGS), DetectSettings(device="cpu"))


@pytest.fixture(scope="module")
def reference(detector, patient_path):
    volume = read_volume(patient_path)
    return volume, detector.detect(volume, slices=SLICES).anomaly_map.values


def stored_as(image, codes):
    """Return the image with its voxels reordered and its affine to match: the same scan, stored otherwise."""
    change = ornt_transform(io_orientation(image.affine), axcodes2ornt(codes))
    array = nib.apply_orientation(np.asarray(image.dataobj), change)
    return nib.Nifti1Image(array, image.affine @ inv_ornt_aff(change, image.shape))


@pytest.mark.parametrize("codes", CODES)
def test_all_48_orientations_give_the_same_values(detector, reference, patient_path, tmp_path, codes):
    nib.save(stored_as(nib.load(patient_path), codes), tmp_path / "scan.nii")
    scan = nib.load(tmp_path / "scan.nii")
    assert "".join(nib.aff2axcodes(scan.affine)) == codes
    volume = read_volume(tmp_path / "scan.nii")
    anomaly_map = detector.detect(volume, slices=SLICES).anomaly_map
    np.testing.assert_allclose(anomaly_map.values, reference[1], atol=1e-4)
    np.testing.assert_allclose(
        volume.geometry.canonical_affine, reference[0].geometry.canonical_affine, atol=1e-3
    )
    written = nib.load(anomaly_map.save(tmp_path / "map.nii"))
    assert written.shape == scan.shape
    assert written.affine.tobytes() == scan.affine.tobytes()


def turned(degrees, axis):
    turn = np.eye(4)
    a, b = [i for i in range(3) if i != axis]
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn[a, a] = turn[b, b] = cosine
    turn[a, b], turn[b, a] = -sine, sine
    return turn


OBLIQUE = [turned(12, 0) @ turned(-9, 2), turned(-25, 1) @ turned(17, 0) @ turned(8, 2)]


@pytest.mark.parametrize("turn", OBLIQUE)
@pytest.mark.parametrize("codes", ["LAS", "PSR"])
def test_a_patient_lying_obliquely_keeps_the_values_at_each_point(
    detector, reference, patient_path, tmp_path, turn, codes
):
    image = stored_as(nib.load(patient_path), codes)
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj), turn @ image.affine), tmp_path / "scan.nii")
    scan = nib.load(tmp_path / "scan.nii")
    volume = read_volume(tmp_path / "scan.nii")
    assert volume.geometry.is_oblique
    anomaly_map = detector.detect(volume, slices=SLICES).anomaly_map
    zyx = np.array([[7, 20, 15], [9, 31, 6], [9, 12, 22]])
    world = reference[0].geometry.canonical_to_world(zyx) @ turn[:3, :3].T
    there = np.linalg.inv(volume.geometry.canonical_affine) @ np.c_[world, np.ones(3)].T
    values = ndimage.map_coordinates(anomaly_map.values, there[2::-1], order=1)
    np.testing.assert_allclose(values, reference[1][tuple(zyx.T)], atol=1e-3)
    written = nib.load(anomaly_map.save(tmp_path / "map.nii"))
    assert written.affine.tobytes() == scan.affine.tobytes()

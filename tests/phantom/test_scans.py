"""Phantom scans: what holds for every seed, kind and grid."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from napari_dinoad.errors import SettingError
from napari_dinoad.images.foreground.body import find_body
from napari_dinoad.phantom import (
    FIELD_OF_VIEW_MM,
    KINDS,
    SHAPE,
    PhantomPatient,
    make_normal,
    make_patient,
    make_patient_slice,
    make_slice,
)

if TYPE_CHECKING:
    from napari_dinoad.images.volume import Volume

SMALL = (52, 64, 56)


@pytest.fixture(scope="module")
def normal() -> Volume:
    return make_normal(7)


@pytest.fixture(scope="module")
def small() -> Volume:
    return make_normal(1, SMALL)


@pytest.fixture(scope="module")
def patients() -> dict[str, PhantomPatient]:
    return {kind: make_patient(7, kind) for kind in KINDS}


def test_a_normal_scan_is_float32_whole_numbers_on_a_head_sized_grid(normal: Volume) -> None:
    assert normal.values.shape == SHAPE
    assert normal.values.dtype == np.float32
    assert normal.values.flags.c_contiguous
    assert normal.values.min() >= 0
    assert np.array_equal(normal.values, np.rint(normal.values))
    assert normal.values.max() < np.iinfo(np.int16).max
    np.testing.assert_allclose(normal.geometry.spacing, np.array(FIELD_OF_VIEW_MM) / SHAPE)


def test_the_origin_lies_in_the_middle_of_the_head(normal: Volume) -> None:
    middle = normal.geometry.canonical_to_world((np.array(SHAPE) - 1) / 2)
    assert np.abs(middle[:2]).max() < 8
    # The field of view reaches from the base of the skull to above the vertex.
    assert 10 < middle[2] < 26


def test_a_seed_gives_the_same_scan_and_another_seed_another(normal: Volume) -> None:
    assert np.array_equal(make_normal(7, SMALL).values, make_normal(7, SMALL).values)
    other = make_normal(8)
    assert np.corrcoef(other.values.ravel(), normal.values.ravel())[0, 1] < 0.97


def test_the_head_is_found_and_does_not_touch_the_sides(normal: Volume) -> None:
    body = find_body(normal.values)
    assert 0.2 < body.mean() < 0.6
    z, y, x = (body.any(axis=axes) for axes in ((1, 2), (0, 2), (0, 1)))
    assert not (x[0] or x[-1] or y[0] or y[-1] or z[-1])


def test_subjects_differ_in_size_position_and_contrast() -> None:
    scans = [make_normal(seed, SMALL).values for seed in range(8)]
    bodies = [find_body(values) for values in scans]
    assert np.std([body.mean() for body in bodies]) / np.mean([body.mean() for body in bodies]) > 0.02
    centres = np.array([ndimage.center_of_mass(body) for body in bodies])
    assert (centres.std(axis=0) > 0.15).all()
    levels = [np.median(values[body]) for values, body in zip(scans, bodies, strict=True)]
    assert np.max(levels) / np.min(levels) > 1.3


def test_neighbouring_slices_show_the_same_head(normal: Volume) -> None:
    middle = normal.values[20:60]
    near = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairwise(middle)]
    assert min(near) > 0.85


def test_air_has_the_mean_of_rician_noise(normal: Volume) -> None:
    air = normal.values[:, :10, :10].ravel()
    # Magnitude noise without signal is Rayleigh: mean² / variance = π / (4 − π).
    assert air.mean() ** 2 / air.var() == pytest.approx(np.pi / (4 - np.pi), rel=0.15)


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_is_one_object_of_realistic_size(kind: str, patients: dict[str, PhantomPatient]) -> None:
    patient = patients[kind]
    assert patient.kind == kind
    assert patient.lesion_mask.dtype == bool
    assert patient.lesion_mask.shape == patient.volume.values.shape
    volume_mm3 = patient.lesion_mask.sum() * patient.volume.geometry.voxel_volume
    assert 20 < (6 / np.pi * volume_mm3) ** (1 / 3) < 32
    sizes = np.bincount(ndimage.label(patient.lesion_mask)[0].ravel())[1:]
    assert sizes.max() / sizes.sum() > 0.95


@pytest.mark.parametrize("kind", KINDS)
def test_a_lesion_lies_in_the_head(kind: str, patients: dict[str, PhantomPatient]) -> None:
    patient = patients[kind]
    body = ndimage.binary_erosion(find_body(patient.volume.values), iterations=3)
    assert body[patient.lesion_mask].all()


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "mass"])
def test_nothing_changes_beyond_a_lesion(
    kind: str, normal: Volume, patients: dict[str, PhantomPatient]
) -> None:
    patient = patients[kind]
    beyond = ~ndimage.binary_dilation(patient.lesion_mask, iterations=4)
    assert np.array_equal(patient.volume.values[beyond], normal.values[beyond])
    assert patient.volume.geometry.matches(normal.geometry)


def test_lesions_look_as_their_kind_says(normal: Volume, patients: dict[str, PhantomPatient]) -> None:
    def inner(kind: str) -> tuple[np.ndarray, np.ndarray]:
        mask = ndimage.binary_erosion(patients[kind].lesion_mask)
        return patients[kind].volume.values[mask], normal.values[mask]

    bright, before = inner("bright")
    assert bright.mean() > 1.15 * before.mean()
    dark, before = inner("dark")
    assert dark.mean() < 0.75 * before.mean()
    grainy, before = inner("texture")
    assert grainy.mean() == pytest.approx(before.mean(), rel=0.1)

    def detail(values: np.ndarray) -> float:
        mask = patients["texture"].lesion_mask
        return float(np.abs(values - ndimage.uniform_filter(values, 3))[mask].mean())

    assert detail(patients["texture"].volume.values) > 1.5 * detail(normal.values)
    mask = patients["bright-rim"].lesion_mask
    depth = ndimage.distance_transform_edt(mask)
    values = patients["bright-rim"].volume.values
    assert values[mask & (depth <= 2)].mean() > 1.4 * values[depth > 0.7 * depth.max()].mean()


def test_a_mass_moves_its_surroundings_but_not_the_skull(
    normal: Volume, patients: dict[str, PhantomPatient]
) -> None:
    patient = patients["mass"]
    change = np.abs(patient.volume.values - normal.values)
    distance = ndimage.distance_transform_edt(~patient.lesion_mask)
    shell, far = (distance > 4) & (distance <= 10), distance > 45
    assert change[shell].mean() > 5 * change[far].mean()
    head = find_body(normal.values)
    # The cut through the neck, where the field of view ends, is no scalp.
    scalp = head & ~ndimage.binary_erosion(head, iterations=4, border_value=1)
    assert np.array_equal(patient.volume.values[scalp], normal.values[scalp])


def test_a_diameter_can_be_asked_for() -> None:
    for diameter in (14.0, 28.0):
        patient = make_patient(3, "dark", diameter_mm=diameter)
        volume_mm3 = patient.lesion_mask.sum() * patient.volume.geometry.voxel_volume
        assert (6 / np.pi * volume_mm3) ** (1 / 3) == pytest.approx(diameter, rel=0.12)


@pytest.mark.parametrize("orientation", ["LAS", "LPS", "PIR", "SRA", "ILP"])
def test_storage_changes_the_file_and_not_the_head(orientation: str, small: Volume) -> None:
    turned = make_normal(1, SMALL, orientation=orientation)
    assert nib.aff2axcodes(turned.geometry.affine) == tuple(orientation)
    assert np.array_equal(turned.values, small.values)
    np.testing.assert_allclose(turned.geometry.canonical_affine, small.geometry.canonical_affine, atol=1e-5)
    stored = turned.geometry.to_stored(turned.values)
    assert stored.shape == turned.geometry.shape
    assert np.array_equal(turned.geometry.to_canonical(stored), small.values)


def test_oblique_scans_say_so_and_keep_their_size(small: Volume) -> None:
    tilted = make_normal(1, SMALL, orientation="LAS", oblique_deg=12)
    assert not small.geometry.is_oblique
    assert tilted.geometry.is_oblique
    assert tilted.geometry.obliquity_deg == pytest.approx(12, abs=4)
    np.testing.assert_allclose(tilted.geometry.spacing, small.geometry.spacing, atol=1e-4)
    assert np.array_equal(tilted.values, small.values)


def test_thick_slices_and_own_voxel_sizes() -> None:
    thick = make_normal(1, (30, 64, 56), (6.0, 3.5, 3.5))
    assert thick.geometry.spacing == pytest.approx((6.0, 3.5, 3.5))
    even = make_patient(1, "bright", (45, 56, 48), 4.0)
    assert even.volume.geometry.spacing == pytest.approx((4.0, 4.0, 4.0))
    assert even.lesion_mask.any()


def test_2d_samples_are_8_bit_pictures() -> None:
    picture = make_slice(0)
    assert picture.is_2d
    assert not picture.geometry.is_physical
    assert picture.values.shape == (1, 256, 224)
    assert picture.full_scale == 255
    assert 0 <= picture.values.min() and picture.values.max() == 255
    patient = make_patient_slice(0, "bright")
    assert patient.lesion_mask.shape == patient.volume.values.shape
    inside = patient.volume.values[patient.lesion_mask]
    assert inside.size > 150
    assert inside.mean() > 200


def test_wrong_parameters_are_refused() -> None:
    with pytest.raises(SettingError, match="one of bright, dark"):
        make_patient(0, "green", SMALL)
    with pytest.raises(SettingError, match="one of bright, dark"):
        make_patient_slice(0, "green")
    with pytest.raises(SettingError, match="6 to 40 mm"):
        make_patient(0, "dark", SMALL, diameter_mm=90)
    with pytest.raises(SettingError, match="no place in the brain"):
        make_patient(0, "dark", (4, 4, 4), 2.0)
    with pytest.raises(SettingError, match="at least 2 voxels"):
        make_normal(0, (1, 64, 56))
    with pytest.raises(SettingError, match="above 0"):
        make_normal(0, SMALL, (2.0, 0.0, 2.0))
    with pytest.raises(SettingError, match="'RLS'"):
        make_normal(0, SMALL, orientation="RLS")
    with pytest.raises(SettingError, match="45 degrees"):
        make_normal(0, SMALL, oblique_deg=60)
    with pytest.raises(SettingError, match="seed"):
        make_normal(-1, SMALL)

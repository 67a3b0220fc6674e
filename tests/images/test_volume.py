"""The geometry contract: every orientation there and back, exactly."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_dinoad.errors import GeometryError
from napari_dinoad.images.volume import Geometry, Volume

ORIENTATIONS = [
    (axes, signs)
    for axes in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


def signed_permutation(axes, signs, spacing=(1.5, 2.5, 3.5), origin=(-20.0, 30.0, 5.0)):
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored_axis, world_axis in enumerate(axes):
        affine[world_axis, stored_axis] = signs[stored_axis] * spacing[stored_axis]
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize(("axes", "signs"), ORIENTATIONS)
def test_orientation_agrees_with_nibabel_and_returns_exactly(axes, signs):
    stored = np.arange(2 * 3 * 4).reshape(2, 3, 4)
    affine = signed_permutation(axes, signs)
    geometry = Geometry(stored.shape, affine)

    canonical = geometry.to_canonical(stored)

    expected = nib.as_closest_canonical(nib.Nifti1Image(stored.astype(np.int32), affine))
    np.testing.assert_array_equal(canonical, np.asarray(expected.dataobj).transpose(2, 1, 0))
    np.testing.assert_allclose(geometry.canonical_affine, expected.affine)
    np.testing.assert_array_equal(geometry.to_stored(canonical), stored)
    assert geometry.spacing == pytest.approx(tuple(expected.header.get_zooms()[::-1]))


@given(data=st.data())
def test_world_points_survive_any_affine(data):
    shape = data.draw(st.tuples(*[st.integers(1, 6)] * 3))
    elements = st.integers(-4000, 4000).map(
        lambda x: x / 1000
    )  # no subnormals, which overflow in the determinant
    matrix = data.draw(hnp.arrays(np.float64, (3, 3), elements=elements))
    if abs(np.linalg.det(matrix)) < 0.05 or np.linalg.cond(matrix) > 50:
        return
    affine = np.eye(4)
    affine[:3, :3] = matrix
    affine[:3, 3] = data.draw(hnp.arrays(np.float64, 3, elements=st.floats(-200, 200)))
    geometry = Geometry(shape, affine)
    stored = np.arange(np.prod(shape)).reshape(shape)

    canonical = geometry.to_canonical(stored)
    np.testing.assert_array_equal(geometry.to_stored(canonical), stored)
    zyx = np.array([data.draw(st.integers(0, n - 1)) for n in geometry.canonical_shape])
    ijk = np.rint(geometry.canonical_to_stored_index(zyx)).astype(int)
    assert canonical[tuple(zyx)] == stored[tuple(ijk)]
    np.testing.assert_allclose(
        geometry.canonical_to_world(zyx), affine[:3, :3] @ ijk + affine[:3, 3], atol=1e-6
    )


def test_pixels_stay_pixels():
    geometry = Geometry.of_pixels((4, 6))
    stored = np.arange(24).reshape(4, 6)
    canonical = geometry.to_canonical(stored)
    assert canonical.shape == geometry.canonical_shape == (1, 4, 6)
    np.testing.assert_array_equal(canonical[0], stored)
    np.testing.assert_array_equal(geometry.to_stored(canonical), stored)
    assert geometry.unit == "pixel"
    assert geometry.voxel_volume == 1.0
    assert geometry.canonical_to_stored_index(np.array([0, 2, 5])).tolist() == [2, 5]


def test_2d_with_an_affine_keeps_its_two_axes():
    affine = signed_permutation((0, 2, 1), (1, -1, 1))
    geometry = Geometry((5, 7), affine)
    stored = np.arange(35).reshape(5, 7)
    canonical = geometry.to_canonical(stored)
    assert canonical.shape == (7, 1, 5)
    np.testing.assert_array_equal(geometry.to_stored(canonical), stored)
    assert geometry.voxel_volume == pytest.approx(1.5 * 2.5)


def test_trailing_axes_of_length_one_are_kept():
    geometry = Geometry((2, 3, 4, 1), np.eye(4))
    stored = np.arange(24).reshape(2, 3, 4, 1)
    assert geometry.to_stored(geometry.to_canonical(stored)).shape == (2, 3, 4, 1)


def test_obliquity():
    angle = np.radians(12)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    geometry = Geometry((3, 3, 3), affine)
    assert geometry.obliquity_deg == pytest.approx(12)
    assert geometry.is_oblique
    assert not Geometry((3, 3, 3), np.diag([-1, 1, 2, 1])).is_oblique


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((2, 3, 4), np.zeros((4, 4))),
        ((2, 3, 4), np.full((4, 4), np.nan)),
        ((2, 3, 4, 5), np.eye(4)),
        ((2,), np.eye(4)),
        ((2, 0, 3), np.eye(4)),
    ],
)
def test_unusable_grids_are_refused(shape, affine):
    with pytest.raises(GeometryError, match="expected"):
        Geometry(shape, affine)


def test_arrays_of_another_shape_are_refused():
    geometry = Geometry((2, 3, 4), np.eye(4))
    with pytest.raises(GeometryError, match="expected"):
        geometry.to_canonical(np.zeros((4, 3, 2)))
    with pytest.raises(GeometryError, match="expected"):
        geometry.to_stored(np.zeros((2, 3, 4)))
    with pytest.raises(GeometryError, match="expected"):
        Volume(np.zeros((2, 3, 4), np.float32), geometry)


@pytest.mark.parametrize("geometry", [None, np.eye(4), (4, 4, 4)])
def test_a_volume_needs_a_geometry_and_not_an_affine_alone(geometry):
    with pytest.raises(GeometryError, match=r"expected a Geometry, got \w+. Give Geometry\(shape, affine\)"):
        Volume(np.zeros((4, 4, 4), np.float32), geometry)

"""NIfTI headers of what is written: place, unit, codes, type, and nothing about the patient."""

from __future__ import annotations

import gzip
import struct

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy.spatial.transform import Rotation

from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.export import nifti_on_grid

AFFINE = np.array([[-1.1, 0.02, 0, 40], [0.02, 1.1, 0.05, -30.5], [0, -0.05, 2.2, 7.25], [0, 0, 0, 1]])


def spotted(volume):
    """Return a map with one voxel marked, and that voxel as stored."""
    values = np.zeros(volume.values.shape, np.float32)
    values[-1, 1, 2] = 4.5
    return AnomalyMap(values, volume), np.argwhere(volume.geometry.to_stored(values))[0]


def raw_scaling(path):
    data = path.read_bytes()
    data = gzip.decompress(data) if path.suffix == ".gz" else data
    return struct.unpack("<ff", data[112:120])


@pytest.mark.parametrize("sform_code", [0, 1, 2, 4])
@pytest.mark.parametrize("qform_code", [0, 1, 3])
@pytest.mark.parametrize("unit", ["mm", "micron", "unknown"])
def test_codes_and_unit_are_the_scans_own(tmp_path, sform_code, qform_code, unit):
    image = nib.Nifti1Image(np.random.default_rng(0).random((5, 6, 7), dtype=np.float32), AFFINE)
    image.header.set_sform(AFFINE, sform_code)
    image.header.set_qform(np.diag([2.0, 2.0, 2.0, 1.0]) if sform_code else AFFINE, qform_code)
    image.header.set_xyzt_units(unit, "sec")
    nib.save(image, tmp_path / "scan.nii")
    anomaly_map, _ = spotted(read_volume(tmp_path / "scan.nii"))
    anomaly_map.save(tmp_path / "map.nii")
    scan, written = (nib.load(tmp_path / name) for name in ("scan.nii", "map.nii"))
    assert written.affine.tobytes() == scan.affine.tobytes()
    for field in ("sform_code", "qform_code", "srow_x", "srow_y", "srow_z", "quatern_b", "qoffset_x"):
        assert written.header[field].tobytes() == scan.header[field].tobytes(), field
    assert written.get_qform().tobytes() == scan.get_qform().tobytes()
    assert written.header.get_xyzt_units()[0] == (unit if unit != "unknown" else "mm")


@pytest.mark.parametrize("shape", [(9, 8), (9, 8, 1), (1, 9, 8), (9, 8, 5, 1)])
@pytest.mark.parametrize("with_sform", [True, False])
def test_2d_and_trailing_axes(tmp_path, shape, with_sform):
    image = nib.Nifti1Image(np.random.default_rng(0).random(shape, dtype=np.float32), AFFINE)
    image.header.set_sform(AFFINE, 1 if with_sform else 0)
    image.header.set_qform(AFFINE, 1)
    image.header["pixdim"][3] = 2.2
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    values = np.zeros(volume.values.shape, np.float32)
    values.flat[5] = 3
    AnomalyMap(values, volume).mask(0.01).save(tmp_path / "mask.nii.gz")
    scan, written = (nib.load(tmp_path / f"{name}.nii.gz") for name in ("scan", "mask"))
    assert written.shape == scan.shape == shape
    assert written.affine.tobytes() == scan.affine.tobytes()
    assert written.header["pixdim"][:4].tobytes() == scan.header["pixdim"][:4].tobytes()
    assert np.asarray(written.dataobj).sum() == 1


@pytest.mark.parametrize("byte_order", ["<", ">"])
def test_a_scan_with_scaled_integers_of_any_byte_order(tmp_path, byte_order):
    header = nib.Nifti1Header(endianness=byte_order)
    header.set_data_dtype(np.int16)
    stored = np.random.default_rng(0).integers(-500, 2000, (5, 6, 7)).astype(np.int16)
    image = nib.Nifti1Image(stored, AFFINE, header)
    image.header.set_slope_inter(0.25, -100)
    nib.save(image, tmp_path / "scan.nii")
    anomaly_map, voxel = spotted(read_volume(tmp_path / "scan.nii"))
    anomaly_map.save(tmp_path / "map.nii.gz")
    anomaly_map.mask(0.01).save(tmp_path / "mask.nii.gz")
    for name, dtype, value in (("map", np.float32, 4.5), ("mask", np.uint8, 1)):
        path = tmp_path / f"{name}.nii.gz"
        written = nib.load(path)
        assert written.get_data_dtype() == dtype
        assert raw_scaling(path) == (1.0, 0.0)
        assert np.asarray(written.dataobj)[tuple(voxel)] == np.float32(value)
        assert written.affine.tobytes() == nib.load(tmp_path / "scan.nii").affine.tobytes()


def test_nifti_2_stays_nifti_2_with_its_float64_affine(tmp_path):
    affine = AFFINE + np.pi * 1e-7 * np.eye(4) * (1, 1, 1, 0)
    image = nib.Nifti2Image(np.random.default_rng(0).random((5, 6, 7), dtype=np.float32), affine)
    nib.save(image, tmp_path / "scan.nii")
    anomaly_map, _ = spotted(read_volume(tmp_path / "scan.nii"))
    anomaly_map.save(tmp_path / "map.nii")
    written = nib.load(tmp_path / "map.nii")
    assert isinstance(written, nib.Nifti2Image)
    assert written.affine.tobytes() == affine.tobytes()


@pytest.mark.parametrize("decimals", [4, 6, 16])
@pytest.mark.parametrize("degrees", [(0.01, 0, 0), (0.3, -0.2, 0.1), (31, 17, 45), (0, 90, 0)])
def test_direction_cosines_that_a_header_rounds_have_a_qform(degrees, decimals):
    """Programs that go by the qform alone would place the mask elsewhere."""
    turn = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix().round(decimals)
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * (-0.9, 0.9, 1.25), (-31.7, 22.13, 5.5)
    geometry = Geometry((5, 6, 7), affine)
    volume = Volume(np.zeros(geometry.canonical_shape, np.float32), geometry)
    written = nifti_on_grid(np.zeros(geometry.canonical_shape, np.uint8), volume)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(written.get_qform(), affine, atol=1e-3)


def test_scans_without_nifti_header_say_scanner_coordinates():
    turn = np.array([[0.96, -0.28, 0], [0.28, 0.96, 0], [0, 0, 1]])
    rigid = np.eye(4)
    rigid[:3, :3] = turn * (-1.1, 1.1, 2.2)
    rigid[:3, 3] = (40, -30.5, 7.25)
    geometry = Geometry((5, 6, 7), rigid)
    volume = Volume(np.zeros(geometry.canonical_shape, np.float32), geometry)
    written = nifti_on_grid(np.zeros(geometry.canonical_shape, np.uint8), volume)
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 1)
    np.testing.assert_array_equal(written.get_sform(), rigid.astype(np.float32))
    np.testing.assert_allclose(written.get_qform(), rigid, atol=1e-3)
    tilted = rigid.copy()
    tilted[1, 2] += 0.4
    sheared = Geometry((5, 6, 7), tilted)
    written = nifti_on_grid(np.zeros(sheared.canonical_shape, np.uint8), Volume(volume.values, sheared))
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (1, 0)
    np.testing.assert_array_equal(written.affine, sheared.affine.astype(np.float32))


@st.composite
def affines(draw):
    """Any affine (4, 4) whose axes do not nearly lie in a plane: a turned, mirrored and sheared grid, somewhere."""
    turn = Rotation.from_rotvec(draw(st.tuples(*[st.floats(-3.25, 3.25, width=32)] * 3))).as_matrix()
    shear = np.eye(3)
    shear[np.triu_indices(3, 1)] = draw(st.tuples(*[st.floats(-1.5, 1.5, width=32)] * 3))
    sizes = np.array(draw(st.tuples(*[st.floats(0.0625, 50, width=32)] * 3)))
    signs = np.array(draw(st.tuples(*[st.sampled_from([1, -1])] * 3)))
    affine = np.eye(4)
    affine[:3, :3] = (
        turn @ (shear / np.linalg.norm(shear, axis=0) * sizes * signs)[draw(st.permutations(range(3)))]
    )
    affine[:3, 3] = draw(st.tuples(*[st.floats(-50, 50, width=32)] * 3))
    return affine


@settings(max_examples=200)
@given(
    affine=affines(),
    shape=hnp.array_shapes(min_dims=2, max_dims=3, min_side=2, max_side=6),
    dtype=st.sampled_from([np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64]),
    slope=st.sampled_from([1.0, 0.5, 3.0, 0.001]),
    intercept=st.sampled_from([0.0, -1024.0, 7.5]),
    seed=st.integers(0, 2**32 - 1),
)
def test_round_trips_never_lose_alignment(tmp_path_factory, affine, shape, dtype, slope, intercept, seed):
    """Any affine, shape, type and scaling: a voxel marked in the map is the voxel of the scan it was found at."""
    folder = tmp_path_factory.getbasetemp()
    rng = np.random.default_rng(seed)
    stored = rng.permutation(int(np.prod(shape))).reshape(shape).astype(dtype)
    image = nib.Nifti1Image(stored, affine)
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, folder / "scan.nii")
    scan = nib.load(folder / "scan.nii")
    volume = read_volume(folder / "scan.nii")
    brightest = np.unravel_index(int(np.asarray(stored, float).argmax()), shape)

    hot = (volume.values == volume.values.max()).astype(np.float32) * 5
    written = nib.Nifti1Image.from_bytes(nifti_on_grid(hot, volume).to_bytes())
    (region, *others) = AnomalyMap(hot, volume).mask(0.01).regions()

    assert written.affine.tobytes() == scan.affine.tobytes()
    np.testing.assert_array_equal(np.argwhere(np.asarray(written.dataobj)), [brightest])
    assert not others
    assert region.peak_ijk == brightest
    index = [*brightest, 0][:3]
    np.testing.assert_allclose(region.peak_mm, (scan.affine @ [*index, 1])[:3], atol=1e-3)

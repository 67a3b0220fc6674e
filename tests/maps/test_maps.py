"""Maps and masks on the scan's own grid, and what is measured on them."""

from __future__ import annotations

import csv
import itertools

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from napari_dinoad.errors import GeometryError, SettingError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap, AnomalyMask
from napari_dinoad.maps.export import write_regions_csv
from napari_dinoad.maps.pictures.overview import save_picture
from napari_dinoad.maps.regions import rounded_size


def oblique_affine(axes, signs, degrees=7.0):
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = 0
    for stored, world in enumerate(axes):
        affine[world, stored] = signs[stored] * (1.1, 0.9, 2.3)[stored]
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = (-31.7, 22.13, 5.5)
    return affine


def scan_with_lesion(tmp_path, affine, shape=(9, 10, 11), sform=True, qform=True):
    """Return the volume read from a file, and where its lesion is as stored."""
    stored = np.random.default_rng(0).random(shape, dtype=np.float32)
    image = nib.Nifti1Image(stored, affine)
    image.header.set_sform(affine, 2 if sform else 0)
    image.header.set_qform(affine, 1 if qform else 0)
    nib.save(image, tmp_path / "scan.nii.gz")
    return read_volume(tmp_path / "scan.nii.gz")


def map_with_spots(volume, *spots):
    """Return a map that is high at stored indices ``(i, j, k): value``."""
    stored = np.zeros(volume.geometry.shape, dtype=np.float32)
    for where, value in spots:
        stored[where] = value
    return AnomalyMap(np.ascontiguousarray(volume.geometry.to_canonical(stored)), volume)


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
@pytest.mark.parametrize("degrees", [0.0, 7.0])
def test_outputs_lie_on_the_scans_own_grid(tmp_path, axes, signs, degrees):
    volume = scan_with_lesion(tmp_path, oblique_affine(axes, signs, degrees))
    anomaly_map = map_with_spots(volume, ((2, 3, 4), 5.0), ((2, 3, 5), 3.0))

    anomaly_map.save(tmp_path / "map.nii.gz")
    mask = anomaly_map.mask(0.01)
    mask.save(tmp_path / "mask.nii.gz")

    scan = nib.load(tmp_path / "scan.nii.gz")
    for name, dtype in (("map", np.float32), ("mask", np.uint8)):
        written = nib.load(tmp_path / f"{name}.nii.gz")
        assert written.shape == scan.shape
        assert written.get_data_dtype() == dtype
        assert written.affine.tobytes() == scan.affine.tobytes()
        for code in ("sform_code", "qform_code"):
            assert written.header[code] == scan.header[code]
    written = np.asarray(nib.load(tmp_path / "map.nii.gz").dataobj)
    assert written[2, 3, 4] == 5
    assert np.count_nonzero(written) == 2
    (region,) = mask.regions()
    assert region.peak_ijk == (2, 3, 4)
    np.testing.assert_allclose(region.peak_mm, scan.affine[:3] @ [2, 3, 4, 1], atol=1e-6)
    np.testing.assert_allclose(region.centroid_mm, scan.affine[:3] @ [2, 3, 4.5, 1], atol=1e-6)
    assert region.volume_mm3 == pytest.approx(2 * 1.1 * 0.9 * 2.3, abs=1e-3)


@pytest.mark.parametrize(("sform", "qform"), [(True, False), (False, True), (False, False)])
def test_the_affine_is_bit_identical_whatever_says_it(tmp_path, sform, qform):
    volume = scan_with_lesion(tmp_path, oblique_affine((0, 1, 2), (-1, 1, 1)), sform=sform, qform=qform)
    map_with_spots(volume).save(tmp_path / "map.nii")
    scan, written = (nib.load(tmp_path / name) for name in ("scan.nii.gz", "map.nii"))
    assert written.affine.tobytes() == scan.affine.tobytes()


def test_the_mask_is_a_threshold_and_regions_are_ordered_by_peak(tmp_path):
    volume = scan_with_lesion(tmp_path, np.diag([2.0, 2.0, 2.0, 1.0]))
    anomaly_map = map_with_spots(
        volume, ((1, 1, 1), 2.5), ((2, 2, 2), 2.2), ((6, 6, 6), 4.0), ((0, 8, 0), 1.9)
    )
    mask = anomaly_map.mask(0.01)
    assert np.array_equal(mask.values, anomaly_map.values >= 2)
    first, second = mask.regions()
    assert (first.label, first.n_voxels, first.peak_neg_log10_p) == (1, 1, 4.0)
    assert (second.label, second.n_voxels, second.volume_mm3) == (2, 2, 16.0)  # touching corners are one
    assert len(anomaly_map.mask(0.1).regions()) == 3
    assert not anomaly_map.mask(1e-6).values.any()


def test_small_regions_are_left_out_by_volume(tmp_path):
    volume = scan_with_lesion(tmp_path, np.diag([2.0, 2.0, 2.0, 1.0]))
    anomaly_map = map_with_spots(volume, ((1, 1, 1), 2.5), ((2, 2, 2), 2.2), ((6, 6, 6), 4.0))
    (region,) = anomaly_map.mask(0.01, min_volume_mm3=10).regions()
    assert region.volume_mm3 == 16
    assert anomaly_map.mask(0.01, min_volume_mm3=10).values.sum() == 2


@pytest.mark.parametrize("fpr", [0.1, 0.05, 0.01, 0.003, 0.001, 1e-5])
def test_a_voxel_at_the_rate_itself_is_marked(fpr):
    volume = Volume(np.ones((1, 1, 3), np.float32), Geometry.of_pixels((1, 3)))
    at = np.float32(-np.log10(fpr))
    values = np.array([[[np.nextafter(at, np.float32(0)), at, 0]]], np.float32)
    assert AnomalyMap(values, volume).mask(fpr).values.tolist() == [[[0, 1, 0]]]


def test_a_region_of_just_the_least_volume_stays(tmp_path):
    """As the table tells it: a header's float32 0.7 mm is a little less than that."""
    volume = scan_with_lesion(tmp_path, np.diag([*np.float32([0.7, 0.7, 0.7]), 1.0]))
    anomaly_map = map_with_spots(volume, ((slice(1, 6), slice(1, 3), 1), 2.5))
    (region,) = anomaly_map.mask(0.01).regions()
    assert region.volume_mm3 == 3.43
    assert anomaly_map.mask(0.01, min_volume_mm3=3.43).regions() == (region,)
    assert not anomaly_map.mask(0.01, min_volume_mm3=3.431).regions()


def test_of_regions_with_one_peak_the_largest_comes_first():
    volume = Volume(np.ones((1, 3, 9), np.float32), Geometry.of_pixels((3, 9)))
    values = np.zeros((1, 3, 9), np.float32)
    values[0, 0, 0], values[0, 0, 2:4], values[0, 0, 5:8] = 3, 4, 4
    assert [region.area_px for region in AnomalyMap(values, volume).mask(0.01).regions()] == [3, 2, 1]


@pytest.mark.parametrize("shape", [(6, 30, 40), (60, 130, 130)], ids=["of two bytes", "of four bytes"])
def test_labels_are_scipys_in_the_order_of_their_peaks(shape):
    """cc3d numbers the voxels of large scans in a type of its own."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random(shape) < 0.01, rng.uniform(2.0, 9.0, shape), 0.0).astype(np.float32)
    mask = AnomalyMap(values, Volume(values, Geometry(shape[::-1], np.eye(4)))).mask(0.01, min_volume_mm3=2)
    parts, n_parts = ndimage.label(values >= 2, np.ones((3, 3, 3)))
    peaks = ndimage.maximum(values, parts, np.arange(1, n_parts + 1))
    sizes = np.bincount(parts.ravel())[1:]
    kept = [part for part in np.argsort(-peaks) if sizes[part] >= 2]
    number = np.zeros(n_parts + 1, dtype=np.int32)
    number[1 + np.array(kept)] = np.arange(1, len(kept) + 1)
    assert mask.labels.dtype == np.int32
    np.testing.assert_array_equal(mask.labels, number[parts])


@pytest.mark.parametrize("at_once", [1, 50, 250])
def test_regions_that_reach_from_block_to_block_of_a_large_scan_are_whole(at_once, monkeypatch):
    """Blocks of some slices, or of some rows of each."""
    rng = np.random.default_rng(4)
    shape = (9, 10, 12)
    volume = Volume(np.zeros(shape, np.float32), Geometry(shape[::-1], np.diag([2.0, 3.0, 4.0, 1.0])))
    anomaly_map = AnomalyMap(rng.gamma(1.0, 0.6, shape).astype(np.float32), volume)
    whole = anomaly_map.mask(0.05)
    assert len(whole.regions()) > 8 and max(region.extent_mm[2] for region in whole.regions()) > 8
    some = [region.label for region in whole.regions()][1::2]
    wanted = whole.regions(), whole.only(some)
    for module in ("anomaly_map", "regions"):
        monkeypatch.setattr(f"napari_dinoad.maps.{module}._VOXELS_AT_ONCE", at_once)
    in_blocks = anomaly_map.mask(0.05)
    np.testing.assert_array_equal(in_blocks.labels, whole.labels)
    assert in_blocks.regions() == wanted[0]
    np.testing.assert_array_equal(in_blocks.only(some).labels, wanted[1].labels)


def test_sizes_are_told_to_a_thousandth_and_small_ones_to_four_digits():
    """Voxels of a microscope are far below 0.001 mm³."""
    sizes = (12345.67891, 1.00049, 1.0, 0.99994, 0.000123456, 2.5e-9)
    assert [rounded_size(size) for size in sizes] == [12345.679, 1.0, 1.0, 0.9999, 0.0001235, 2.5e-9]


def test_ticked_regions_alone(tmp_path):
    volume = scan_with_lesion(tmp_path, np.eye(4))
    mask = map_with_spots(volume, ((1, 1, 1), 2.5), ((4, 4, 4), 3.0), ((7, 7, 7), 4.0)).mask(0.01)
    kept = mask.only({1, 3})
    assert [region.label for region in kept.regions()] == [1, 3]
    assert kept.values.sum() == 2


def test_pixels_are_measured_in_pixels():
    volume = Volume(np.ones((1, 6, 8), np.float32), Geometry.of_pixels((6, 8)))
    values = np.zeros((1, 6, 8), np.float32)
    values[0, 2, 3:6] = 3
    (region,) = AnomalyMap(values, volume).mask(0.01).regions()
    assert (region.area_px, region.volume_mm3, region.peak_mm) == (3, None, None)
    assert region.peak_ijk == (2, 3)
    assert "mm" not in " ".join(region.to_dict())


def test_2d_scans_with_size_are_measured_in_square_millimetres():
    volume = Volume(np.ones((1, 6, 8), np.float32), Geometry((8, 6), np.diag([0.5, 0.5, 3.0, 1.0])))
    values = np.zeros((1, 6, 8), np.float32)
    values[0, 2, 3:7] = 3
    (region,) = AnomalyMap(values, volume).mask(0.01).regions()
    assert region.area_mm2 == 1.0
    assert region.volume_mm3 is None


def test_regions_table(tmp_path):
    volume = scan_with_lesion(tmp_path, np.diag([2.0, 2.0, 2.0, 1.0]))
    mask = map_with_spots(volume, ((1, 2, 3), 2.5), ((6, 6, 6), 4.0)).mask(0.01)
    write_regions_csv(tmp_path / "regions.csv", [region.to_dict() for region in mask.regions()])
    with (tmp_path / "regions.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == ["1", "2"]
    assert [rows[1][f"peak_{axis}"] for axis in "ijk"] == ["1", "2", "3"]
    assert float(rows[1]["peak_z_mm"]) == 6.0
    assert rows[0]["area_px"] == ""


def test_bad_arguments_are_told(tmp_path):
    volume = scan_with_lesion(tmp_path, np.eye(4))
    anomaly_map = map_with_spots(volume)
    for fpr in (0, 1, -0.1):
        with pytest.raises(SettingError, match="False-positive rate"):
            AnomalyMask.of(anomaly_map, fpr)
    with pytest.raises(SettingError, match=r"\.nii"):
        anomaly_map.save(tmp_path / "map.png")
    with pytest.raises(GeometryError, match="expected shape"):
        AnomalyMap(np.zeros((2, 2, 2), np.float32), volume)


def test_the_picture_shows_scan_and_overlay(tmp_path):
    volume = scan_with_lesion(tmp_path, np.eye(4), shape=(30, 30, 30))
    mask = map_with_spots(volume, ((slice(10, 15), slice(10, 15), 12), 4.0)).mask(0.01)
    save_picture(tmp_path / "p.png", mask, truth=np.zeros(volume.values.shape, bool))
    pixels = np.asarray(Image.open(tmp_path / "p.png"))
    left, right = pixels[:, :320], pixels[:, 320:640]
    assert (left[..., 0] == left[..., 2])[:320].all(), "the plain scan is grey"
    assert (right[..., 0].astype(int) - right[..., 2] > 60).any(), "the overlay is coloured"


def test_regions_agree_with_scipys_measurements():
    rng = np.random.default_rng(3)
    volume = Volume(np.zeros((12, 14, 16), np.float32), Geometry((16, 14, 12), np.diag([2.0, 3.0, 4.0, 1.0])))
    values = rng.gamma(1.0, 0.6, volume.values.shape).astype(np.float32)
    mask = AnomalyMap(values, volume).mask(0.03)
    regions = mask.regions()
    labels = [region.label for region in regions]
    assert len(labels) > 20
    assert labels == list(range(1, len(labels) + 1))
    np.testing.assert_allclose(
        [r.peak_neg_log10_p for r in regions], ndimage.maximum(values, mask.labels, labels)
    )
    assert np.all(np.diff([r.peak_neg_log10_p for r in regions]) <= 0)
    np.testing.assert_array_equal(
        [r.peak_zyx for r in regions], ndimage.maximum_position(values, mask.labels, labels)
    )
    centres = np.array(ndimage.center_of_mass(mask.labels > 0, mask.labels, labels))
    np.testing.assert_allclose([r.centroid_mm for r in regions], centres[:, ::-1] * (2, 3, 4), atol=1e-9)
    np.testing.assert_array_equal(
        [r.n_voxels for r in regions], ndimage.sum_labels(mask.labels > 0, mask.labels, labels)
    )
    for region in regions:
        spread = np.ptp(np.argwhere(mask.labels == region.label), axis=0)[::-1] + 1
        assert region.extent_mm == tuple(spread * (2.0, 3.0, 4.0))

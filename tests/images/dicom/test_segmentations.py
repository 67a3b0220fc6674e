"""DICOM segmentations of other programs, in the place that their frames say: written by highdicom and dcmqi."""

from __future__ import annotations

from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid

from dicom_files import AXIAL, ct_values, image_dataset, save_all
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom.segmentations import read_segmentation
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from segmentation_files import save_seg, sources

CORONAL_OBLIQUE = (0.96, 0.28, 0.0, 0.0, 0.0, -1.0)
SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def marked_places(labels, geometry, number):
    return geometry.canonical_to_world(np.argwhere(labels == number))


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL_OBLIQUE])
def test_segments_lie_where_they_lie_in_the_scan(tmp_path, kind, orientation):
    """Frames without a mark are left out by most programs, so slices must be placed by their positions."""
    datasets = sources(orientation=orientation)
    save_all(datasets, tmp_path / "scan")
    scan = read_volume(tmp_path / "scan")
    frames = np.zeros((8, 10, 12), np.uint8)
    frames[2, 3:6, 4:7] = 1
    frames[3, 5, 4:7] = 2
    frames[6, 1, 8:11] = 2
    (found,) = read_segmentation(save_seg(tmp_path / "seg.dcm", datasets, frames, kind, 2))
    assert found.segments == {1: "Liver", 2: "Spleen"}
    assert found.labels.shape == found.geometry.canonical_shape
    for number in (1, 2):
        values = [datasets[z].pixel_array[y, x] for z, y, x in np.argwhere(frames == number)]
        theirs = scan.geometry.canonical_to_world(np.argwhere(np.isin(scan.values, values)))
        ours = marked_places(found.labels, found.geometry, number)
        assert len(ours) == len(theirs) == (frames == number).sum()
        np.testing.assert_allclose(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)], atol=1e-4)


def test_segments_that_overlap_are_all_kept(tmp_path):
    frames = np.zeros((8, 10, 12, 3), np.uint8)
    frames[2, 3:6, 4:7, 0] = 1
    frames[2:4, 4:8, 4:9, 1] = 1
    frames[6, 0, 0, 2] = 1
    found = read_segmentation(save_seg(tmp_path / "seg.dcm", sources(), frames, n=3))
    assert [one.segments for one in found] == [{1: "Liver", 3: "Kidney"}, {2: "Spleen"}]
    counts = {number: int((one.labels == number).sum()) for one in found for number in one.segments}
    assert counts == {1: 9, 2: 40, 3: 1}


def test_a_mask_of_one_slice_of_a_volume_stays_a_volume(tmp_path):
    """As a picture it would be shown in every slice."""
    datasets = sources()
    frames = np.zeros((8, 10, 12), np.uint8)
    frames[5, 2, 3] = 1
    (found,) = read_segmentation(save_seg(tmp_path / "seg.dcm", datasets, frames))
    assert 1 not in found.labels.shape
    x, y, z = (float(p) for p in datasets[5].ImagePositionPatient)
    ((right, front, up),) = marked_places(found.labels, found.geometry, 1)
    np.testing.assert_allclose([-right, -front, up], [x + 3 * 0.5, y + 2 * 0.5, z], atol=1e-4)

    (single,) = read_segmentation(save_seg(tmp_path / "one.dcm", datasets[5:6], frames[5:6]))
    assert single.labels.shape == (1, 10, 12)


def test_an_image_without_a_place(tmp_path):
    dataset = image_dataset(
        ct_values(1)[0].astype(np.uint16),
        sop_class=DigitalXRayImageStorageForPresentation,
        SeriesInstanceUID=generate_uid(),
        **dict.fromkeys(
            ("PatientBirthDate", "PatientSex", "StudyID", "StudyTime", "ReferringPhysicianName"), ""
        ),
    )
    frames = np.zeros((1, 10, 12), np.uint8)
    frames[0, 2, 9] = 1
    (found,) = read_segmentation(save_seg(tmp_path / "seg.dcm", [dataset], frames))
    assert not found.geometry.is_physical
    np.testing.assert_array_equal(np.argwhere(found.labels), [[0, 2, 9]])


def test_a_real_one_of_dcmqi():
    path = Path(get_testdata_file("liver_1frame.dcm", download=False))
    (found,) = read_segmentation(path)
    expected = hd.seg.segread(path).get_volume(combine_segments=True)
    assert found.segments == {1: "Liver"}
    assert found.labels.sum() == expected.array.sum() == 36233
    ours = marked_places(found.labels, found.geometry, 1)
    affine = expected.get_affine("RAS")
    theirs = np.argwhere(expected.array) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(ours[np.lexsort(ours.T)], theirs[np.lexsort(theirs.T)], atol=1e-3)


def test_what_is_no_mask_or_has_no_place_is_told(tmp_path):
    datasets = sources()
    shares = np.full((8, 10, 12), 0.5)
    with pytest.raises(
        ScanReadError, match="another kind than those that can be opened, BINARY and LABELMAP"
    ):
        read_segmentation(save_seg(tmp_path / "shares.dcm", datasets, shares, "FRACTIONAL"))
    path = save_seg(tmp_path / "seg.dcm", datasets, np.ones((8, 10, 12), np.uint8))
    dataset = pydicom.dcmread(path)
    place = dataset.PerFrameFunctionalGroupsSequence[3].PlanePositionSequence[0]
    place.ImagePositionPatient[2] += 0.7
    dataset.save_as(tmp_path / "uneven.dcm")
    with pytest.raises(
        ScanReadError, match="cannot be put in place: expected frames of one orientation at even"
    ):
        read_segmentation(tmp_path / "uneven.dcm")
    (tmp_path / "cut.dcm").write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ScanReadError, match=r"cut\.dcm: .*pixels are damaged") as error:
        read_segmentation(tmp_path / "cut.dcm")
    assert "Secret" not in str(error.value)


def test_in_folders_they_are_results_and_no_scans(tmp_path):
    datasets = sources()
    save_all(datasets, tmp_path / "scan")
    save_seg(tmp_path / "scan" / "seg.dcm", datasets, np.ones((8, 10, 12), np.uint8))
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["scan"]
    assert [(scan.name, scan.holding) for scan in found.results] == [("seg", "mask")]
    assert [(item.path.name, item.reason) for item in found.skipped] == [
        ("seg.dcm", "DICOM, but a segmentation, not a scan.")
    ]
    assert not read_volume(tmp_path / "scan").notes

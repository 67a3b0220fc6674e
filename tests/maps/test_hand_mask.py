"""Masks by hand: on the scan's own grid, named as what they are, and without probabilities."""

from __future__ import annotations

import csv
import json

import highdicom as hd
import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from dicom_files import CARD, ct_values, save_all, series_datasets
from napari_dinoad.errors import GeometryError, SettingError
from napari_dinoad.images.dicom.segmentations import read_segmentation
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.maps.dicom.seg import build_hand_seg
from napari_dinoad.maps.dicom.seg_content import MAX_REGION_SEGMENTS
from napari_dinoad.maps.hand_mask import HandMask
from napari_dinoad.maps.hand_outputs import HAND_OUTPUTS, save_hand_outputs

AFFINES = {
    "las": np.diag([-1.0, 1.0, 2.0, 1.0]),
    "permuted": np.array([[0, 0, -2.0, 5], [1.0, 0, 0, -3], [0, -1.0, 0, 8], [0, 0, 0, 1]]),
    "oblique": np.array([[0.98, -0.17, 0, 1], [0.17, 0.98, 0, 2], [0, 0, 3.0, 3], [0, 0, 0, 1]]),
}

PROBABILITY_WORDS = ("p_value", "fpr", "log10", "peak", "threshold")


def some_labels(shape, highest=3, seed=2):
    """Return scattered labels from 0, with each label in place."""
    labels = np.random.default_rng(seed).integers(0, highest + 1, shape)
    labels.flat[: highest + 1] = np.arange(highest + 1)
    return labels


@pytest.fixture
def ct(tmp_path):
    """Return a scan from DICOM of 6 slices, oblique."""
    orientation = (0.96, 0.28, 0.0, 0.0, 0.0, -1.0)
    datasets = series_datasets(ct_values(), orientation=orientation)
    save_all(datasets, tmp_path / "ct")
    return read_volume(tmp_path / "ct")


@pytest.mark.parametrize("kind", AFFINES)
@pytest.mark.parametrize(("highest", "dtype"), [(1, np.uint8), (3, np.uint8), (300, np.uint16)])
def test_nifti_holds_the_labels_on_the_scans_own_grid(tmp_path, kind, highest, dtype):
    path = tmp_path / "scan.nii.gz"
    data = np.random.default_rng(0).integers(0, 200, (7, 8, 9)).astype(np.int16)
    nib.save(nib.Nifti1Image(data, AFFINES[kind]), path)
    volume = read_volume(path)
    stored = some_labels(data.shape, highest)
    mask = HandMask(volume.geometry.to_canonical(stored), volume, "drawn")
    written = save_hand_outputs(mask, tmp_path / "out", "scan", ("mask",))
    assert written == {"mask": tmp_path / "out" / "scan_by_hand_mask.nii.gz"}
    image = nib.load(written["mask"])
    assert image.affine.tobytes() == nib.load(path).affine.tobytes()
    assert image.get_data_dtype() == dtype
    assert image.header["intent_code"] == 1002
    np.testing.assert_array_equal(np.asarray(image.dataobj), stored)


@pytest.mark.parametrize("making", ["corrected", "drawn"])
def test_tables_and_reports_say_what_it_is_and_claim_no_probability(tmp_path, ct, making):
    labels = np.zeros(ct.values.shape, int)
    labels[1, 2:4, 3:6] = 1
    labels[4, 0:2, 8:10] = 1
    written = save_hand_outputs(
        HandMask(labels, ct, making, card=CARD), tmp_path / "out", "ct", ("regions", "report")
    )
    document = json.loads(written["report"].read_text())
    assert document["mask"] == {"corrected": "Corrected by hand", "drawn": "Drawn by hand"}[making]
    assert ("corrected_model" in document) == (making == "corrected")
    assert "Research use only" in document["use"]
    document.pop("corrected_model", None)
    for word in PROBABILITY_WORDS:
        assert word not in json.dumps(document)
    assert [region["n_voxels"] for region in document["regions"]] == [6, 4]
    rows = list(csv.DictReader(written["regions"].read_text().splitlines()))
    voxel = ct.geometry.voxel_volume
    assert [float(row["volume_mm3"]) for row in rows] == pytest.approx([6 * voxel, 4 * voxel], abs=1e-3)
    assert {row[key] for row in rows for key in row if key.startswith("peak")} == {""}
    centre = ct.geometry.canonical_to_world(np.array([1, 2.5, 4]))
    assert [float(rows[0][f"centroid_{axis}_mm"]) for axis in "xyz"] == pytest.approx(centre, abs=1e-3)


def test_each_label_is_a_region_where_there_are_several(ct):
    labels = np.zeros(ct.values.shape, int)
    labels[1, 2, 3], labels[5, 2, 3], labels[3, 4:6, 5] = 2, 2, 7
    mask = HandMask(labels, ct, "drawn", names={7: "oedema"})
    assert mask.present == (2, 7)
    assert [(row["label"], row["n_voxels"], row.get("name")) for row in mask.regions] == [
        (2, 2, None),
        (7, 2, "oedema"),
    ]


def test_parts_of_a_single_label_are_regions_and_none_has_the_name_of_a_label(ct):
    """They are numbered from 1, which says nothing of labels."""
    labels = np.zeros(ct.values.shape, int)
    labels[1, 2, 3], labels[2, 3, 4], labels[4, 0, 0] = 2, 2, 2  # the first two touch at a corner
    mask = HandMask(labels, ct, "drawn", names={1: "haematoma", 2: "oedema"})
    assert [(row["label"], row["n_voxels"], row.get("name")) for row in mask.regions] == [
        (1, 2, None),
        (2, 1, None),
    ]


@pytest.mark.parametrize(
    ("making", "kind", "name"),
    [("corrected", "SEMIAUTOMATIC", "Corrected by hand"), ("drawn", "MANUAL", "Drawn by hand")],
)
def test_dicom_seg_says_who_made_it(tmp_path, ct, making, kind, name):
    labels = some_labels(ct.values.shape, 1)
    mask = HandMask(labels, ct, making, card=CARD)
    path = save_hand_outputs(mask, tmp_path / "out", "ct", ("seg",))["seg"]
    assert path.name == "ct_by_hand_seg.dcm"
    dataset = pydicom.dcmread(path)
    (segment,) = dataset.SegmentSequence
    assert segment.SegmentAlgorithmType == kind
    assert segment.SegmentLabel == name
    assert name in dataset.SeriesDescription
    assert "anomalies" not in dataset.SeriesDescription + dataset.ContentDescription
    if making == "drawn":
        assert "SegmentAlgorithmName" not in segment
        assert "SegmentationAlgorithmIdentificationSequence" not in segment
    else:
        assert segment.SegmentAlgorithmName == "napari-dinoad"
        (algorithm,) = segment.SegmentationAlgorithmIdentificationSequence
        assert "scorer=ar-cnn" in algorithm.AlgorithmParameters
        assert "rate" not in str(algorithm.AlgorithmParameters)


def test_dicom_seg_lies_where_the_scan_says_with_a_segment_for_each_label(tmp_path, ct):
    labels = some_labels(ct.values.shape, 3) * 2
    mask = HandMask(labels, ct, "drawn", names={4: "oedema"})
    path = save_hand_outputs(mask, tmp_path / "out", "ct", ("seg",), seg_segments="regions")["seg"]
    seg = hd.seg.segread(path)
    assert [s.SegmentLabel for s in seg.SegmentSequence] == ["Label 2", "oedema", "Label 6"]
    for number, label in enumerate((2, 4, 6), start=1):
        theirs = seg.get_volume(segment_numbers=[number])
        indices = np.argwhere(theirs.array[..., 0] if theirs.array.ndim == 4 else theirs.array)
        places = nib.affines.apply_affine(theirs.get_affine("RAS"), indices)
        ours = nib.affines.apply_affine(
            ct.geometry.affine, np.argwhere(ct.geometry.to_stored(mask.labels) == label)
        )
        assert len(ours) == len(places) > 50
        np.testing.assert_allclose(places[np.lexsort(places.T)], ours[np.lexsort(ours.T)], atol=1e-3)
    (again,) = read_segmentation(path)
    assert again.segments == {1: "Label 2", 2: "oedema", 3: "Label 6"}
    np.testing.assert_array_equal(again.labels * 2, labels)


@pytest.mark.parametrize("n", [1, 2])
def test_few_labels_have_a_segment_each(ct, n):
    seg = build_hand_seg(HandMask(some_labels(ct.values.shape, n), ct, "drawn"), "regions")
    assert [s.SegmentLabel for s in seg.SegmentSequence] == [["Drawn by hand"], ["Label 1", "Label 2"]][n - 1]


def test_one_segment_holds_all_labels(ct):
    seg = build_hand_seg(HandMask(some_labels(ct.values.shape, 3), ct, "corrected"))
    assert len(seg.SegmentSequence) == 1
    assert np.count_nonzero(seg.pixel_array) == np.count_nonzero(some_labels(ct.values.shape, 3))
    named = build_hand_seg(HandMask(some_labels(ct.values.shape, 1), ct, "drawn", names={1: "oedema"}))
    assert named.SegmentSequence[0].SegmentLabel == "oedema"


def test_an_empty_mask_is_written_too(tmp_path, ct):
    """Everything that was found may be wrong."""
    mask = HandMask(np.zeros(ct.values.shape, int), ct, "corrected", card=CARD)
    written = save_hand_outputs(mask, tmp_path / "out", "ct", ("mask", "regions", "report", "seg"))
    assert not np.asarray(nib.load(written["mask"]).dataobj).any()
    assert not pydicom.dcmread(written["seg"]).pixel_array.any()
    assert json.loads(written["report"].read_text())["n_regions"] == 0


def test_what_cannot_be_written_is_told_before_anything_is(tmp_path, ct):
    mask = HandMask(some_labels(ct.values.shape, 1), ct, "drawn")
    with pytest.raises(SettingError, match=r"map.*|expected some of mask"):
        save_hand_outputs(mask, tmp_path / "out", "ct", ("mask", "map"))
    with pytest.raises(SettingError, match="png"):
        save_hand_outputs(mask, tmp_path / "out", "ct", ("mask", "png"))
    assert not (tmp_path / "out").exists()
    many = HandMask(some_labels(ct.values.shape, MAX_REGION_SEGMENTS + 1), ct, "drawn")
    with pytest.raises(SettingError, match="expected at most 20 labels"):
        build_hand_seg(many, "regions")
    with pytest.raises(GeometryError, match="expected shape"):
        HandMask(np.zeros((1, 2, 3), int), ct, "drawn")
    with pytest.raises(GeometryError, match="labels of 0 and above"):
        HandMask(-some_labels(ct.values.shape), ct, "drawn")


def test_a_picture_gets_a_png_that_is_no_scan_in_a_folder(tmp_path):
    Image.fromarray(ct_values(1, 10, 12)[0].astype(np.uint8)).save(tmp_path / "scan.png")
    volume = read_volume(tmp_path / "scan.png")
    labels = np.zeros(volume.values.shape, int)
    labels[0, 2:4, 5:9] = 3
    written = save_hand_outputs(
        HandMask(labels, volume, "drawn"), tmp_path, "scan", set(HAND_OUTPUTS) - {"seg"}
    )
    pixels = np.asarray(Image.open(written["png"]))
    np.testing.assert_array_equal(pixels, np.where(labels[0], 255, 0))
    assert [scan.name for scan in discover_scans(tmp_path).scans] == ["scan"]

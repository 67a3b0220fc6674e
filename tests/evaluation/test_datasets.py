"""Layouts of benchmarks: which scan belongs to which mask and split."""

from __future__ import annotations

import re

import nibabel as nib
import numpy as np
import pytest

from napari_dinoad.errors import DinoadError, ScanReadError
from napari_dinoad.evaluation.datasets import find_dataset
from napari_dinoad.evaluation.mask_folders import masks_of_folder
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.export import save_on_grid

BMAD = """
train/good/a.png
train/good/b.png
valid/good/img/v1.png valid/good/label/v1.png
valid/Ungood/img/v2.png valid/Ungood/label/v2.png
test/good/img/1.png test/good/label/1.png
test/Ungood/img/2.png test/Ungood/label/2.png
test/Ungood/img/3.png test/Ungood/label/3.png
"""
CLASS_INSIDE = """
train/good/a.png
Valid/img/good/v1.png Valid/label/good/v1.png
Valid/img/Ungood/v2.png Valid/label/Ungood/v2.png
Test/img/good/1.png Test/label/good/1.png
Test/img/Ungood/2.png Test/anomaly_mask/Ungood/2.png
Test/img/Ungood/3.png Test/anomaly_mask/Ungood/3.png
"""
RESC = """
Train/train/a.png
Val/val/v1.png Val/val_label/v1.png
Val/val/v2.png Val/val_label/v2.png
Test/test/1.png Test/test_label/1.png
Test/test/2.png Test/test_label/2.png
Test/test/3.png Test/test_label/3.png
"""


def lay_out(folder, listing):
    """Make files whose pixels no one reads; return the folder."""
    for name in listing.split():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def test_a_mask_of_an_abnormal_image_is_not_that_of_a_normal_one_of_its_name(tmp_path):
    lay_out(
        tmp_path, "test/good/img/1.png test/Ungood/img/2.png test/Ungood/label/1.png test/Ungood/label/2.png"
    )
    found = find_dataset(tmp_path, "bmad")
    assert {scan.path.name: scan.mask and scan.mask.name for scan in found.test} == {
        "1.png": None,
        "2.png": "2.png",
    }
    assert found.unmatched == (tmp_path / "test/Ungood/label/1.png",)
    assert not any(scan.fault for scan in found.test)


@pytest.mark.parametrize(("listing", "n_validation"), [(BMAD, 1), (CLASS_INSIDE, 1), (RESC, 2)])
@pytest.mark.parametrize("change", [str, str.lower, str.upper])
def test_published_layouts(tmp_path, listing, n_validation, change):
    lay_out(tmp_path, " ".join(change(name).replace(".PNG", ".png") for name in listing.split()))
    found = find_dataset(tmp_path)
    assert found.layout == "bmad"
    assert [scan.path.stem for scan in found.test] == sorted("123") or len(found.test) == 3
    for scan in found.test:
        assert scan.mask is not None
        assert scan.mask.stem == scan.path.stem
        assert scan.mask != scan.path
    assert len(found.validation) == n_validation
    assert not found.unmatched
    if listing != RESC:
        assert {scan.path.stem: scan.is_abnormal for scan in found.test} == {"1": False, "2": True, "3": True}
    else:
        assert {scan.is_abnormal for scan in found.test} == {None}


def test_scans_of_one_name_in_two_classes_keep_their_own_masks(tmp_path):
    lay_out(
        tmp_path, "test/good/img/1.png test/good/label/1.png test/Ungood/img/1.png test/Ungood/label/1.png"
    )
    scans = find_dataset(tmp_path).test
    assert len(scans) == 2
    for scan in scans:
        assert scan.mask.parent.parent == scan.path.parent.parent


def test_a_plain_folder_of_scans_and_masks(tmp_path):
    lay_out(tmp_path, "image/1.png mask/1.png image/2.png mask/2.png normal/3.png mask/9.png")
    found = find_dataset(tmp_path)
    assert found.layout == "folder"
    assert not found.validation
    assert {scan.path.stem: scan.mask is not None for scan in found.test} == {
        "1": True,
        "2": True,
        "3": False,
    }
    assert [path.stem for path in found.unmatched] == ["9"]


def test_masks_told_by_their_ending(tmp_path):
    lay_out(
        tmp_path,
        "p1.png p1_mask.png p2.png p2_seg.png p3.png truth/p3_mask.png p4.png p4.seg.png mask_of_nothing.png",
    )
    found = {scan.path.stem: scan.mask and scan.mask.stem for scan in find_dataset(tmp_path).test}
    assert found == {
        "p1": "p1_mask",
        "p2": "p2_seg",
        "p3": "p3_mask",
        "p4": "p4.seg",
        "mask_of_nothing": None,
    }


SAME_NAMES = {
    "beside": "{sub}/anat/T1w.nii.gz {sub}/anat/T1w_mask.nii.gz",
    "sibling folders": "{sub}/img/T1w.nii.gz {sub}/mask/T1w.nii.gz",
    "parallel trees": "images/{sub}/T1w.nii.gz masks/{sub}/T1w.nii.gz",
    "trees of a kind": "T1/{sub}/scan.nii.gz lesion_masks/{sub}/scan.nii.gz",
    "derivatives": "{sub}/anat/T1w.nii.gz derivatives/lesion-masks/{sub}/anat/T1w_mask.nii.gz",
    "raw data and derivatives": "rawdata/{sub}/anat/T1w.nii.gz derivatives/masks/{sub}/anat/T1w.nii.gz",
    "mask folder beside the modality": "{sub}/anat/T1w.nii.gz {sub}/lesion_mask/T1w.nii.gz",
    "mask above its scan": "{sub}/ses_1/anat/T1w.nii.gz {sub}/T1w_seg.nii.gz",
    "folders of patients and of their masks": "{sub}/T1w.nii.gz {sub}_mask/T1w.nii.gz",
}
"""Layouts in which each patient's scan has the same name."""


@pytest.mark.parametrize("listing", SAME_NAMES.values(), ids=SAME_NAMES)
def test_scans_of_one_name_in_folders_of_patients_keep_their_own_masks(tmp_path, listing):
    subjects = ("sub-01", "sub-02", "sub-03")
    lay_out(tmp_path, " ".join(listing.format(sub=subject) for subject in subjects))
    found = find_dataset(tmp_path)
    assert not found.unmatched
    assert len(found.test) == 3
    for scan in found.test:
        (own,) = [subject for subject in subjects if subject in str(scan.path)]
        assert own in str(scan.mask)
        assert scan.mask != scan.path


@pytest.mark.parametrize("listing", SAME_NAMES.values(), ids=SAME_NAMES)
def test_a_scan_without_a_mask_never_gets_another_patients(tmp_path, listing):
    subjects = ("sub-01", "sub-02", "sub-03")
    lay_out(tmp_path, " ".join(listing.format(sub=subject) for subject in subjects))
    first, second, third = find_dataset(tmp_path).test
    first.mask.unlink()
    found = find_dataset(tmp_path)
    assert [scan.mask for scan in found.test] == [None, second.mask, third.mask]
    assert not found.unmatched
    second.path.unlink()
    found = find_dataset(tmp_path)
    assert [scan.mask for scan in found.test] == [None, third.mask]
    assert found.unmatched == (second.mask,)


def test_preprocessed_scans_of_patients_are_not_normal_ones(tmp_path):
    lay_out(tmp_path, "sub-1/sub-1_T1w.nii sub-2/sub-2_T1w.nii sub-1/sub-1_T1w_mask.nii")
    lay_out(
        tmp_path, "derivatives/prep/sub-1/sub-1_desc-x_T1w.nii derivatives/prep/sub-2/sub-2_desc-x_T1w.nii"
    )
    lay_out(tmp_path, "derivatives/prep/sub-2/sub-2_desc-x_T1w_mask.nii sourcedata/sub-1.nii")
    found = find_dataset(tmp_path)
    assert {scan.path.name: scan.mask is not None for scan in found.test} == {
        "sub-1_T1w.nii": True,
        "sub-2_T1w.nii": False,
        "sub-2_desc-x_T1w.nii": True,
    }
    assert {item.path.name: item.reason for item in found.unused} == {
        "sub-1_desc-x_T1w.nii": "derivatives of the scans beside it",
        "sub-1.nii": "source data of the scans beside it",
    }
    assert len(find_dataset(tmp_path / "derivatives").test) == 2


def test_contradicting_folders_count_where_a_name_is_unique(tmp_path):
    lay_out(tmp_path, "hospital/a.png hospital/b.png north_masks/a.png south_masks/b_mask.png")
    found = {scan.path.stem: scan.mask and scan.mask.stem for scan in find_dataset(tmp_path).test}
    assert found == {"a": "a", "b": "b_mask"}


@pytest.mark.parametrize(
    ("listing", "n_rivals"),
    [
        ("p/a.png p/a_mask.png p/a_seg.png", 2),
        ("p/a.png p/a_mask.png p/a_mask_1.png", 2),
        ("p/ses1/a.png p/ses2/a.png p/mask/a.png", 1),
        ("p/a.png p/a.jpg p/a_mask.png", 1),
        ("one/a.png north_masks/a.png south_masks/a.png", 2),
    ],
)
def test_where_a_mask_cannot_be_told_the_scan_is_not_taken_for_a_normal_one(tmp_path, listing, n_rivals):
    lay_out(tmp_path, f"{listing} p/b.png p/b_mask.png")
    found = find_dataset(tmp_path)
    assert {scan.path.stem: scan.mask is not None for scan in found.test} == {"a": False, "b": True}
    assert len(found.unmatched) == n_rivals
    for scan in found.test:
        assert ("expected one mask that is its own" in scan.fault) == (scan.path.stem == "a")
    for name in ("b.png", "b_mask.png"):
        (tmp_path / "p" / name).unlink()
    with pytest.raises(DinoadError, match="expected one mask that is its own"):
        find_dataset(tmp_path)


def test_a_normal_scan_needs_no_mask_of_its_own(tmp_path):
    lay_out(tmp_path, "normal/a.png patients/p1/a.png patients/p1/a_mask.png north_masks/p7/a.png")
    found = find_dataset(tmp_path)
    assert [(scan.is_abnormal, scan.mask is not None, scan.fault) for scan in found.test] == [
        (False, False, ""), (True, True, "")
    ]  # fmt: skip
    assert [path.parent.name for path in found.unmatched] == ["p7"]


def test_names_outside_the_dataset_do_not_count(tmp_path):
    folder = lay_out(tmp_path / "train" / "mask" / "data", "image/1.png mask/1.png")
    (scan,) = find_dataset(folder).test
    assert scan.mask is not None


@pytest.mark.parametrize("name", ["test", "testing", "test_retest", "test_01"])
def test_a_folder_that_happens_to_be_called_test_is_no_split(tmp_path, name):
    lay_out(tmp_path, f"{name}/a.png {name}/a_mask.png other/b.png other/b_mask.png")
    found = find_dataset(tmp_path)
    assert found.layout == "folder"
    assert {scan.path.stem: scan.mask.stem for scan in found.test} == {"a": "a_mask", "b": "b_mask"}
    assert not found.unused


def test_a_test_folder_alone_is_a_benchmark(tmp_path):
    lay_out(tmp_path, "test/good/img/1.png test/Ungood/img/2.png test/Ungood/label/2.png")
    assert find_dataset(tmp_path).layout == "bmad"


def test_maps_beside_the_scans_that_they_are_of_are_no_scans(tmp_path):
    """As ``dinoad score`` leaves them; what is only called so is a scan."""
    lay_out(tmp_path, "a_mask.nii.gz")
    for name, intent in (("a", 0), ("a_anomaly", 24), ("b_anomaly", 0)):
        image = nib.Nifti1Image(np.ones((4, 5, 6), np.float32), np.eye(4))
        image.header["intent_code"] = intent
        nib.save(image, tmp_path / f"{name}.nii.gz")
    found = find_dataset(tmp_path)
    assert [scan.path.name for scan in found.test] == ["a.nii.gz", "b_anomaly.nii.gz"]
    assert [(item.path.name, item.reason) for item in found.unused] == [
        ("a_anomaly.nii.gz", "a map of −log10 p, not a scan")
    ]


@pytest.mark.parametrize(
    ("scan", "mask"),
    [("{}_flair", "{}_seg"), ("{}-t2f", "{}-seg"), ("{}_T1w", "{}_label"), ("{}_t1ce", "masks/{}")],
)
@pytest.mark.parametrize("place", ["", "{}/", "test/{}/"])
def test_a_mask_is_that_of_its_cases_only_sequence(tmp_path, scan, mask, place):
    """As BraTS names them; they were two scans, both normal, or a mask of no scan."""
    cases = [f"BraTS-GLI-0000{i}-000" for i in (1, 2)]
    mask = mask if place != "test/{}/" or "/" not in mask else mask.split("/")[1] + "_mask"
    listing = [(place + name).format(case, case) for case in cases for name in (scan, mask)]
    lay_out(tmp_path, " ".join(f"{name}.nii.gz" for name in listing))
    found = find_dataset(tmp_path, "folder")
    assert [(one.path.name, one.mask.name, one.fault) for one in found.test] == [
        (f"{scan.format(case)}.nii.gz", f"{mask.split('/')[-1].format(case)}.nii.gz", "") for case in cases
    ]
    assert not found.unmatched


def test_a_mask_of_several_sequences_is_that_of_none(tmp_path):
    lay_out(
        tmp_path,
        "a_t1.nii.gz a_flair.nii.gz a_seg.nii.gz b_t1.nii.gz b_t1_mask.nii.gz b_seg.nii.gz c_t1.nii.gz",
    )
    found = find_dataset(tmp_path)
    told = {one.path.name: (one.mask and one.mask.name, bool(one.fault)) for one in found.test}
    assert told == {
        "a_flair.nii.gz": (None, True),
        "a_t1.nii.gz": (None, True),
        "b_t1.nii.gz": ("b_t1_mask.nii.gz", False),
        "c_t1.nii.gz": (None, False),
    }
    assert {path.name for path in found.unmatched} == {"a_seg.nii.gz", "b_seg.nii.gz"}


@pytest.mark.parametrize("wanted", ["t1n", "*-t1n"])
def test_of_several_sequences_the_one_that_is_wanted_has_the_mask_of_its_case(tmp_path, wanted):
    """As BraTS comes: four sequences and a segmentation of each case."""
    lay_out(
        tmp_path, " ".join(f"{c}/{c}-{e}.nii.gz" for c in ("p1", "p2") for e in ("t1n", "t1c", "t2f", "seg"))
    )
    with pytest.raises(
        DinoadError, match=r"No mask could be told .*; choose one with --series: t1c, t1n, t2f\."
    ):
        find_dataset(tmp_path)
    found = find_dataset(tmp_path, series=wanted)
    assert [(one.path.name, one.mask.name, one.fault) for one in found.test] == [
        ("p1-t1n.nii.gz", "p1-seg.nii.gz", ""),
        ("p2-t1n.nii.gz", "p2-seg.nii.gz", ""),
    ]
    assert {(item.path.name[3:6], item.reason) for item in found.unused} == {
        ("t1c", "not the series chosen"),
        ("t2f", "not the series chosen"),
    }


@pytest.mark.parametrize(
    ("scans", "mask", "told", "wanted"),
    [
        (("{}/orig/FLAIR", "{}/pre/FLAIR", "{}/pre/T1"), "{}/wmh", "orig/FLAIR, pre/FLAIR", "Pre/flair"),
        (("FLAIR/{}", "T1/{}"), "masks/{}", "'FLAIR/*', 'T1/*'", "t1/*"),
    ],
)
def test_of_scans_of_one_name_folders_are_told_to_choose_from(tmp_path, scans, mask, told, wanted):
    """As in the WMH challenge, with its scans before and after preprocessing: no choice was possible."""
    cases = ("1", "2")
    lay_out(tmp_path, " ".join(f"{name.format(case)}.nii" for case in cases for name in (*scans, mask)))
    with pytest.raises(DinoadError, match=rf"choose one with --series: {re.escape(told)}\.$"):
        find_dataset(tmp_path, series="FLAIR" if "/wmh" in mask else None)
    found = find_dataset(tmp_path, series=wanted)
    assert [(one.path, one.mask) for one in found.test] == [
        (tmp_path / f"{scans[1].format(case)}.nii", tmp_path / f"{mask.format(case)}.nii") for case in cases
    ]


def test_no_series_is_advised_where_that_tells_no_scans_apart(tmp_path):
    lay_out(tmp_path, "1/first/FLAIR_x.nii 1/second/FLAIR_x.nii 1/FLAIR_x_mask.nii")
    with pytest.raises(DinoadError, match=r"Put each mask beside its scan, .* called mask there\.$"):
        find_dataset(tmp_path)


def test_masks_of_another_series_beside_the_scans_are_no_scans(tmp_path):
    """They were scored as normal ones."""
    lay_out(tmp_path, "a_t1.nii.gz a_t1_mask.nii.gz a_t2.nii.gz a_t2_mask.nii.gz b_t2.nii.gz b_seg.nii.gz")
    found = find_dataset(tmp_path, series="t1")
    assert [(one.path.name, one.mask.name) for one in found.test] == [("a_t1.nii.gz", "a_t1_mask.nii.gz")]
    assert found.unmatched == ()
    reasons = {item.path.name: item.reason for item in found.unused}
    assert reasons == dict.fromkeys(("a_t2.nii.gz", "b_t2.nii.gz"), "not the series chosen") | dict.fromkeys(
        ("a_t2_mask.nii.gz", "b_seg.nii.gz"), "a mask of a series that is not chosen"
    )
    (tmp_path / "a_t1_mask.nii.gz").unlink()
    told = r"found 1 scans and no mask that belongs to one\. Masks of series that are not chosen: 2\."
    with pytest.raises(DinoadError, match=told):
        find_dataset(tmp_path, series="t1")


def test_a_mask_of_several_other_series_is_no_scan(tmp_path):
    lay_out(tmp_path, "a_t1.nii.gz a_seg.nii.gz b_t2.nii.gz b_t1c.nii.gz b_seg.nii.gz")
    found = find_dataset(tmp_path, series="t1")
    assert [one.path.name for one in found.test] == ["a_t1.nii.gz"]
    assert [path.name for path in found.unmatched] == ["b_seg.nii.gz"]


@pytest.mark.parametrize("place", ["{c}_{s}", "{c}/{s}", "images/{s}/{c}_{s}", "patients/{c}/{c}-{s}"])
def test_another_sequence_of_a_case_with_a_mask_is_not_known_to_be_normal(tmp_path, place):
    """It was a normal scan, silently."""
    names = [place.format(c=c, s=s) for c in ("a", "b") for s in ("t1", "t2", "t2_mask")]
    lay_out(tmp_path, " ".join(f"{name}.nii" for name in names) + " c_t1.nii normal/d/t1.nii normal/d/t2.nii")
    found = find_dataset(tmp_path)
    masks = {one.path.relative_to(tmp_path).as_posix(): one.mask and one.mask.name for one in found.test}
    expected = {
        f"{place.format(c=c, s='t2')}.nii": place.split("/")[-1].format(c=c, s="t2_mask") + ".nii"
        for c in "ab"
    }
    assert masks == expected | {"c_t1.nii": None, "normal/d/t1.nii": None, "normal/d/t2.nii": None}
    assert {item.reason for item in found.unused} == {
        "without a mask, of a case another sequence of which has one"
    }
    assert {item.path for item in found.unused} == {
        tmp_path / f"{place.format(c=c, s='t1')}.nii" for c in "ab"
    }


def test_sequences_of_a_bids_session_are_those_of_a_case(tmp_path):
    """Of cortical dysplasias, drawn on FLAIR: the T1 were normal scans. Another session may be normal."""
    name = "sub-1/{}/sub-1_{}_acq-{}".format
    scans = [
        name("ses-1", "ses-1", "iso_T1w"),
        name("ses-1", "ses-1", "tse_FLAIR"),
        name("ses-2", "ses-2", "iso_T1w"),
    ]
    lay_out(tmp_path, " ".join(f"{scan}.nii" for scan in [*scans, f"{scans[1]}_roi"]))
    found = find_dataset(tmp_path)
    assert [one.path for one in found.test] == [tmp_path / f"{scan}.nii" for scan in scans[1:]]
    assert [item.path for item in found.unused] == [tmp_path / f"{scans[0]}.nii"]


@pytest.mark.parametrize("name", ["label", "wmh", "lesion_mask", "b_segmentation", "bSegmentation"])
def test_a_file_called_as_masks_are_is_no_normal_scan(tmp_path, name):
    lay_out(tmp_path, f"a.nii a_mask.nii b/{name}.nii")
    found = find_dataset(tmp_path)
    assert [scan.path.name for scan in found.test] == ["a.nii"]
    assert found.unmatched == (tmp_path / "b" / f"{name}.nii",)


def test_sequences_told_by_folders_are_those_of_a_case_too(tmp_path):
    """The T1 of a patient whose lesion was drawn on FLAIR counted as a normal scan."""
    lay_out(tmp_path, "T1/a.nii FLAIR/a.nii FLAIR/a_mask.nii T1/b.nii FLAIR/c.nii")
    found = find_dataset(tmp_path)
    assert [scan.path.relative_to(tmp_path).as_posix() for scan in found.test] == [
        "FLAIR/a.nii", "FLAIR/c.nii", "T1/b.nii",
    ]  # fmt: skip
    assert [item.path for item in found.unused] == [tmp_path / "T1" / "a.nii"]


def test_where_masks_are_of_each_sequence_one_without_may_be_a_time_point(tmp_path):
    lay_out(tmp_path, "a_t1.nii a_t2.nii a_t2_mask.nii b_t1.nii b_t1_mask.nii b_t2.nii")
    assert len(find_dataset(tmp_path).test) == 4


@pytest.mark.parametrize("labels", ["", "labelsTs/d.nii"])
def test_patients_whose_labels_are_not_published_are_not_normal(tmp_path, labels):
    """As in the Medical Segmentation Decathlon: they were normal scans."""
    lay_out(tmp_path, f"imagesTr/a.nii labelsTr/a.nii imagesTs/d.nii imagesTs/e.nii normal/n.nii {labels}")
    found = find_dataset(tmp_path)
    names = {one.path.name for one in found.test}
    assert names == {"a.nii", "n.nii"} | ({"d.nii", "e.nii"} if labels else set())
    assert {item.reason for item in found.unused} == (set() if labels else {"without labels, in imagesTs"})


def test_a_series_that_no_scan_is_of_is_told(tmp_path):
    lay_out(tmp_path, " ".join(f"{case}_t1.nii.gz {case}_mask.nii.gz" for case in "abcde"))
    told = r"series 'flair', found none\. Series to choose from: t1 \(5\)\."
    with pytest.raises(DinoadError, match=told):
        find_dataset(tmp_path, series="flair")


def test_of_several_channels_the_one_that_is_wanted_has_the_labels_of_its_case(tmp_path):
    """As nnU-Net lays them out: no label was that of a scan."""
    cases = ("p_001", "p_002")
    lay_out(tmp_path, " ".join(f"imagesTr/{c}_000{n}.nii.gz" for c in cases for n in (0, 1)))
    lay_out(tmp_path, " ".join(f"labelsTr/{c}.nii.gz" for c in cases))
    with pytest.raises(DinoadError, match=r"choose one with --series: 0000, 0001\."):
        find_dataset(tmp_path)
    found = find_dataset(tmp_path, series="0001")
    assert [(one.path.name, one.mask.name, one.fault) for one in found.test] == [
        (f"{case}_0001.nii.gz", f"{case}.nii.gz", "") for case in cases
    ]


@pytest.mark.parametrize(
    ("scan", "other", "mask"),
    [
        ("t1", "flair", "seg"),
        ("T1w", "FLAIR", "mask"),
        ("mprage", "T1post", "mask"),
        ("imaging", "", "segmentation"),
        ("image", "", "label"),
    ],
)
def test_names_without_a_case_are_of_that_of_their_folder(tmp_path, scan, other, mask):
    """As KiTS and many data sets of one's own lay them out; a normal one among them has no mask."""
    for case in ("p1", "p2", "normal_3"):
        names = [name for name in (scan, other, mask if case != "normal_3" else "") if name]
        lay_out(tmp_path, " ".join(f"{case}/{name}.nii.gz" for name in names))
    if other:
        with pytest.raises(DinoadError, match="choose one with --series"):
            find_dataset(tmp_path)
    found = find_dataset(tmp_path, series=scan if other else None)
    assert [(one.path.parent.name, one.mask and one.mask.name, one.fault) for one in found.test] == [
        ("normal_3", None, ""),
        ("p1", f"{mask}.nii.gz", ""),
        ("p2", f"{mask}.nii.gz", ""),
    ]
    (tmp_path / "p1" / f"{scan}.nii.gz").unlink()
    found = find_dataset(tmp_path, series=scan if other else None)
    assert [one.mask and one.mask.parent.name for one in found.test] == [None, "p2"]
    # It is of no other person's scan, but of another series where there is one.
    left = found.unmatched or [item.path for item in found.unused if item.path.stem.startswith(mask)]
    assert [path.parent.name for path in left] == ["p1"]
    assert bool(found.unmatched) is not bool(other)


PUBLISHED_CASES = {
    "ATLAS": (
        "sub-{n}/ses-1/anat/sub-{n}_ses-1_space-MNI152NLin2009aSym_T1w",
        "sub-{n}/ses-1/anat/sub-{n}_ses-1_space-MNI152NLin2009aSym_label-L_desc-T1lesion_mask",
    ),
    "ISLES 2022": (
        "rawdata/sub-strokecase{n}/ses-1/dwi/sub-strokecase{n}_ses-1_dwi",
        "derivatives/sub-strokecase{n}/ses-1/sub-strokecase{n}_ses-1_msk",
    ),
    "lesions of BIDS": (
        "sub-{n}/anat/sub-{n}_T1w",
        "derivatives/lesions/sub-{n}/anat/sub-{n}_space-orig_label-lesion_mask",
    ),
    "region of interest": ("sub-{n}/anat/sub-{n}_acq-a_FLAIR", "sub-{n}/anat/sub-{n}_acq-a_FLAIR_roi"),
    "WMH challenge": ("Utrecht/{n}/pre/FLAIR", "Utrecht/{n}/wmh"),
    "OpenMS": ("patient{n}/FLAIR", "patient{n}/consensus_gt"),
    "MSLesSeg": ("train/P{n}/T1/P{n}_T1_FLAIR", "train/P{n}/T1/P{n}_T1_MASK"),
    "UPENN-GBM": ("images_structural/U-{n}_11/U-{n}_11_FLAIR", "images_segm/U-{n}_11_segm"),
    "3D Slicer": ("{n}", "{n}-label"),
    "LiTS": ("volume-{n}", "segmentation-{n}"),
    "BTCV": ("img/img{n}", "label/label{n}"),
    "the kind first": ("images/image_{n}", "masks/mask_{n}"),
    "of one's own": ("{n}_t1", "{n}_t1_lesion_mask"),
}
"""Scan and mask of a case, by how data sets name them."""


@pytest.mark.parametrize(("scan", "mask"), PUBLISHED_CASES.values(), ids=PUBLISHED_CASES)
def test_masks_of_published_data_sets_are_their_scans(tmp_path, scan, mask):
    """They were normal scans, or masks of none."""
    cases = [[f"{name.format(n=n)}.nii.gz" for name in (scan, mask)] for n in ("001", "002")]
    lay_out(tmp_path, " ".join(name for case in cases for name in case))
    found = find_dataset(tmp_path, "folder")
    told = [[path.relative_to(tmp_path).as_posix() for path in (one.path, one.mask)] for one in found.test]
    assert sorted(told) == cases
    assert not found.unmatched


def test_a_mask_in_another_space_is_of_no_scan(tmp_path):
    lay_out(tmp_path, "sub-1_T1w.nii sub-1_space-MNI_label-lesion_mask.nii sub-2_T1w.nii sub-2_T1w_mask.nii")
    found = find_dataset(tmp_path)
    assert {one.path.name: one.mask and one.mask.name for one in found.test} == {
        "sub-1_T1w.nii": None,
        "sub-2_T1w.nii": "sub-2_T1w_mask.nii",
    }
    assert [path.name for path in found.unmatched] == ["sub-1_space-MNI_label-lesion_mask.nii"]


def test_outlines_of_the_brain_are_neither_scans_nor_truth(tmp_path):
    """As UCSF-PDGM, fMRIPrep and FreeSurfer leave them; they were normal scans, or a scan's truth."""
    lay_out(
        tmp_path,
        "a/a_FLAIR.nii.gz a/a_brain_segmentation.nii.gz a/a_brain_parenchyma_segmentation.nii.gz "
        "a/a_tumor_segmentation.nii.gz a/a_other_segmentation.nii.gz sub-1_desc-brain_T1w.nii.gz "
        "sub-1_desc-brain_mask.nii.gz sub-1_dseg.nii.gz mri/T1.mgz mri/brainmask.mgz mri/aseg.mgz mri/wm.mgz",
    )
    found = find_dataset(tmp_path)
    assert {one.path.name: one.mask and one.mask.name for one in found.test} == {
        "a_FLAIR.nii.gz": "a_tumor_segmentation.nii.gz",
        "sub-1_desc-brain_T1w.nii.gz": None,
        "T1.mgz": None,
        "brainmask.mgz": None,
    }
    assert [path.name for path in found.unmatched] == ["a_other_segmentation.nii.gz"]
    assert {item.path.name: item.reason for item in found.unused} == dict.fromkeys(
        (
            "a_brain_segmentation.nii.gz",
            "a_brain_parenchyma_segmentation.nii.gz",
            "sub-1_desc-brain_mask.nii.gz",
            "sub-1_dseg.nii.gz",
            "aseg.mgz",
            "wm.mgz",
        ),
        "the brain or its tissues by its name, no outline of a lesion",
    )


def test_pictures_of_results_beside_the_images_that_they_are_of_are_no_scans(tmp_path):
    """As ``dinoad score --save png,picture`` leaves them."""
    lay_out(tmp_path, "a.png a_mask.png a_heatmap.png a_picture.png b_picture.png c[1].png c[1]_heatmap.png")
    found = find_dataset(tmp_path)
    assert [scan.path.name for scan in found.test] == ["a.png", "b_picture.png", "c[1].png"]
    assert {item.path.name: item.reason for item in found.unused} == dict.fromkeys(
        ("a_heatmap.png", "a_picture.png", "c[1]_heatmap.png"), "a picture of a result, not a scan"
    )


def test_masks_that_scoring_left_beside_the_scans_are_no_truth(tmp_path):
    """Of `a` the truth lies beside it, too; of `b` nothing does."""
    geometry = Geometry((4, 5, 6), np.eye(4))
    for name in "ab":
        volume = Volume(np.random.default_rng(0).random((6, 5, 4)).astype(np.float32), geometry, name)
        save_on_grid(tmp_path / f"{name}.nii.gz", volume.values, volume)
        AnomalyMap(4 * volume.values, volume).mask(0.01).save(tmp_path / f"{name}_mask.nii.gz")
    save_on_grid(tmp_path / "a_label.nii.gz", (volume.values > 0.9).astype(np.uint8), volume, "mask")
    found = find_dataset(tmp_path)
    assert [(scan.path.name, scan.mask and scan.mask.name, scan.fault) for scan in found.test] == [
        ("a.nii.gz", "a_label.nii.gz", ""),
        ("b.nii.gz", None, ""),
    ]
    told = {item.path.name: item.reason for item in found.unused}
    assert told == dict.fromkeys(
        ("a_mask.nii.gz", "b_mask.nii.gz"), "a mask that napari-dinoad found, not the truth"
    )
    (tmp_path / "a_label.nii.gz").unlink()
    with pytest.raises(DinoadError, match=r"found 2 scans and no mask .*\. 2 masks that napari-dinoad found"):
        find_dataset(tmp_path)


def test_every_scan_that_is_not_evaluated_is_told(tmp_path):
    lay_out(tmp_path, f"{BMAD} other/x.png other/y.png other/y_mask.png test_retest/z.png")
    found = find_dataset(tmp_path)
    assert found.layout == "bmad"
    reasons = {item.path.relative_to(tmp_path).as_posix(): item.reason for item in found.unused}
    assert reasons == {
        "train/good/a.png": "in the training split",
        "train/good/b.png": "in the training split",
        "valid/Ungood/img/v2.png": "abnormal; only normal validation scans set thresholds",
        "other/x.png": "outside the folders train, valid and test",
        "other/y.png": "outside the folders train, valid and test",
        "test_retest/z.png": "outside the folders train, valid and test",
    }
    assert found.unmatched == (tmp_path / "other" / "y_mask.png",)
    everything = {path for path in tmp_path.rglob("*.png") if "label" not in path.parts}
    scans = {scan.path for scan in (*found.validation, *found.test)}
    assert scans | {item.path for item in found.unused} | set(found.unmatched) == everything


@pytest.mark.parametrize(
    ("listing", "layout", "message"),
    [
        ("image/1.png mask/1.png", "bmad", "expected split folders"),
        ("test_retest/1.png test_retest/1_mask.png", "bmad", "expected split folders"),
        ("image/1.png image/2.png", "auto", "no mask that belongs"),
        ("test/good/img/1.png test/Ungood/label/2.png", "auto", "no mask that belongs"),
    ],
)
def test_nothing_to_test_on_is_told(tmp_path, listing, layout, message):
    with pytest.raises(DinoadError, match=message):
        find_dataset(lay_out(tmp_path, listing), layout)


def test_where_masks_are_of_the_training_split_alone_that_is_told(tmp_path):
    """As of challenges, which keep the truth of their test split."""
    lay_out(tmp_path, "Training/a_T1w.nii Training/a_label-L_mask.nii Training/b_T1w.nii Testing/c_T1w.nii")
    told = r"2 scans of the training split are not read; name its folder itself to evaluate it\."
    with pytest.raises(DinoadError, match=told):
        find_dataset(tmp_path)
    assert len(find_dataset(tmp_path / "Training").test) == 2


def test_no_folder_is_told(tmp_path):
    with pytest.raises(ScanReadError, match="found nothing"):
        find_dataset(tmp_path / "none")


MVTEC = """
train/good/000.png train/good/001.png
test/good/000.png test/good/001.png
test/broken_large/000.png test/broken_large/001.png test/Metal-Nut/000.png
ground_truth/broken_large/000_mask.png ground_truth/broken_large/001_mask.png ground_truth/Metal-Nut/000_mask.png
"""
BTAD = """
train/ok/0.png test/ok/0.png test/ok/1.png test/ko/0.png ground_truth/ko/0.png
"""
VISA = """
Data/Images/Normal/000.png Data/Images/Normal/001.png Data/Images/Anomaly/000.png Data/Masks/Anomaly/000.png
"""


@pytest.mark.parametrize("above", ["", "bottle/"])
@pytest.mark.parametrize("layout", ["auto", "mvtec", "bmad"])
@pytest.mark.parametrize(("listing", "n_normal"), [(MVTEC, 2), (BTAD, 2), (VISA, 2)])
def test_layouts_of_industrial_benchmarks(tmp_path, listing, n_normal, layout, above):
    lay_out(tmp_path, " ".join(above + name for name in listing.split()))
    if listing is VISA:
        layout = "auto"
    found = find_dataset(tmp_path, layout)
    assert found.layout == ("folder" if listing is VISA else "mvtec")
    assert not found.unmatched and not any(scan.fault for scan in found.test)
    normal = [scan for scan in found.test if scan.is_abnormal is False]
    abnormal = [scan for scan in found.test if scan.is_abnormal]
    assert len(normal) == n_normal and all(scan.mask is None for scan in normal)
    assert len(normal) + len(abnormal) == len(found.test)
    for scan in abnormal:
        assert scan.mask is not None
        assert scan.mask.parent.name == scan.path.parent.name
        assert scan.mask.stem.removesuffix("_mask") == scan.path.stem
    assert all(item.reason == "in the training split" for item in found.unused)


def test_a_defect_without_a_mask_is_not_normal(tmp_path):
    lay_out(tmp_path, MVTEC + "test/broken_large/002.png")
    (scan,) = [scan for scan in find_dataset(tmp_path).test if scan.path.stem == "002"]
    assert (scan.mask, scan.is_abnormal) == (None, True)


def test_a_mask_of_a_defect_is_not_that_of_a_normal_image_of_its_name(tmp_path):
    lay_out(tmp_path, MVTEC + "test/good/7.png ground_truth/broken_large/7_mask.png")
    found = find_dataset(tmp_path)
    assert [scan.mask for scan in found.test if scan.path.stem == "7"] == [None]
    assert found.unmatched == (tmp_path / "ground_truth/broken_large/7_mask.png",)


def test_masks_beside_the_splits_go_to_the_split_of_their_scan(tmp_path):
    lay_out(
        tmp_path, "train/a.png val/b.png val/c.png test/d.png test/e.png masks/b.png masks/d.png masks/x.png"
    )
    found = find_dataset(tmp_path)
    masks = {scan.path.stem: scan.mask and scan.mask.stem for scan in (*found.validation, *found.test)}
    assert masks == {"b": "b", "c": None, "d": "d", "e": None}
    assert found.unmatched == (tmp_path / "masks/x.png",)


def test_of_several_masks_of_an_image_none_is_taken_for_another_image(tmp_path):
    """As in MVTec LOCO: a folder of masks for each image."""
    masks = [f"ground_truth/logical/{image}/{mask}.png" for image, mask in (("000", "000"), ("005", "000"))]
    lay_out(tmp_path, "train/good/0.png test/good/1.png test/logical/000.png test/logical/001.png")
    lay_out(tmp_path, " ".join([*masks, "test/logical/005.png", "ground_truth/logical/005/001.png"]))
    found = find_dataset(tmp_path)
    assert {one.path.stem: one.mask and one.mask.name for one in found.test} == {
        "000": "000",
        "001": None,
        "005": "005",
        "1": None,
    }


def test_without_masks_folders_tell_the_classes(tmp_path):
    lay_out(
        tmp_path,
        "train/NORMAL/1.png val/NORMAL/2.png val/CNV/3.png test/NORMAL/4.png test/CNV/5.png test/6.png",
    )
    found = find_dataset(tmp_path)
    assert found.is_told_by_folders
    assert {scan.path.stem: scan.is_abnormal for scan in found.test} == {"4": False, "5": True}
    assert [scan.path.stem for scan in found.validation] == ["2"]
    reasons = {item.path.stem: item.reason for item in found.unused}
    assert reasons["6"].startswith("neither normal nor abnormal by its folders")
    assert reasons["3"].startswith("abnormal")


def test_masks_that_belong_to_no_scan_are_not_done_without(tmp_path):
    with pytest.raises(DinoadError, match="no mask that belongs"):
        find_dataset(lay_out(tmp_path, "test/good/1.png test/bad/2.png test/mask/3.png"))


LOCO = """
train/good/000.png validation/good/000.png
test/good/000.png test/good/001.png
test/logical_anomalies/000.png test/logical_anomalies/001.png test/structural_anomalies/000.png
ground_truth/logical_anomalies/000/000.png ground_truth/logical_anomalies/000/001.png
ground_truth/logical_anomalies/001/000.png
ground_truth/structural_anomalies/000/000.png
"""


def test_masks_in_a_folder_called_like_their_image_are_one_mask(tmp_path):
    """As in MVTec LOCO, where an image has a mask for each defect."""
    lay_out(tmp_path, LOCO)
    found = find_dataset(tmp_path)
    assert found.layout == "mvtec"
    told = {
        one.path.relative_to(tmp_path / "test").as_posix(): one.mask
        and one.mask.relative_to(tmp_path).as_posix()
        for one in found.test
    }
    assert told == {
        "good/000.png": None,
        "good/001.png": None,
        "logical_anomalies/000.png": "ground_truth/logical_anomalies/000",
        "logical_anomalies/001.png": "ground_truth/logical_anomalies/001",
        "structural_anomalies/000.png": "ground_truth/structural_anomalies/000",
    }
    assert not any(one.fault for one in found.test)
    assert not found.unmatched


def test_masks_of_a_patient_called_like_a_scan_stay_apart(tmp_path):
    """Folders that scans lie in are patients, and structures in NIfTI files need not all be abnormal."""
    lay_out(
        tmp_path,
        "images/1/1.png images/1/2.png masks/1/1.png masks/1/2.png "
        "b.nii.gz masks/b/tumour.nii.gz masks/b/liver.nii.gz",
    )
    found = find_dataset(tmp_path, "folder")
    masks = {one.path.relative_to(tmp_path).as_posix(): one.mask and one.mask.name for one in found.test}
    assert masks == {"images/1/1.png": "1.png", "images/1/2.png": "2.png", "b.nii.gz": None}


def test_what_macos_keeps_beside_a_mask_is_no_part_of_it(tmp_path):
    """On disks of other systems."""
    lay_out(tmp_path, "masks/a/0.png masks/a/1.png masks/a/._0.png")
    assert masks_of_folder(tmp_path / "masks" / "a") == [
        tmp_path / "masks" / "a" / f"{i}.png" for i in range(2)
    ]


def test_the_published_test_split_is_read(tmp_path):
    """Of MVTec AD 2, whose other test splits have no masks."""
    lay_out(
        tmp_path,
        "train/good/0.png validation/good/1.png test_public/good/2.png test_public/bad/3.png "
        "test_public/ground_truth/bad/3_mask.png test_private/4.png test_private_mixed/5.png",
    )
    found = find_dataset(tmp_path)
    assert [(one.path.name, one.mask and one.mask.name) for one in found.test] == [
        ("3.png", "3_mask.png"),
        ("2.png", None),
    ]
    assert [one.path.name for one in found.validation] == ["1.png"]
    assert {item.path.name for item in found.unused} == {"0.png", "4.png", "5.png"}

"""Layouts of benchmarks: which scan belongs to which mask and split."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from napari_dinoad.errors import DinoadError, ScanReadError
from napari_dinoad.evaluation.datasets import find_dataset

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
    for name in listing.split():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((4, 4), np.uint8)).save(path)
    return folder


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
    for scan in find_dataset(tmp_path).test:
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
    lay_out(tmp_path, "p1.png p1_mask.png p2.png p2_seg.png p3.png truth/p3_mask.png mask_of_nothing.png")
    found = {scan.path.stem: scan.mask and scan.mask.stem for scan in find_dataset(tmp_path).test}
    assert found == {"p1": "p1_mask", "p2": "p2_seg", "p3": "p3_mask", "mask_of_nothing": None}


def test_names_outside_the_dataset_do_not_count(tmp_path):
    folder = lay_out(tmp_path / "train" / "mask" / "data", "image/1.png mask/1.png")
    (scan,) = find_dataset(folder).test
    assert scan.mask is not None


@pytest.mark.parametrize(
    ("listing", "layout", "message"),
    [
        ("image/1.png mask/1.png", "bmad", "expected split folders"),
        ("image/1.png image/2.png", "auto", "no mask that belongs"),
        ("test/good/img/1.png test/Ungood/label/2.png", "auto", "no mask that belongs"),
    ],
)
def test_nothing_to_test_on_is_told(tmp_path, listing, layout, message):
    with pytest.raises(DinoadError, match=message):
        find_dataset(lay_out(tmp_path, listing), layout)


def test_no_folder_is_told(tmp_path):
    with pytest.raises(ScanReadError, match="found nothing"):
        find_dataset(tmp_path / "none")

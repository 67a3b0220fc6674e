"""Which mask is of which scan, by names and places alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_dinoad.evaluation import mask_pairing
from napari_dinoad.evaluation.dataset_files import DatasetFile
from napari_dinoad.evaluation.mask_pairing import pair_masks


def files(listing):
    return [DatasetFile.of(Path("d", name), Path("d")) for name in listing.split()]


def paired(scans, masks):
    """Return what belongs together, scans with rivals, and masks that are left, by their paths."""
    pairing = pair_masks(iter(files(scans)), iter(files(masks)))
    return (
        {_told(scan): _told(mask) for scan, mask in pairing.mask_of.items()},
        {_told(scan): [_told(mask) for mask in rivals] for scan, rivals in pairing.rivals_of.items()},
        [_told(mask) for mask in pairing.unmatched],
    )


def _told(file):
    return file.path.relative_to("d").as_posix()


@pytest.mark.parametrize(
    ("scans", "mask"),
    [
        ("p2/flair.nii", "p3/seg.nii"),
        ("p2/flair.nii p4/flair.nii", "p3/seg.nii"),
        ("flair.nii", "p3/seg.nii"),
    ],
)
def test_a_mask_that_is_told_by_its_folder_alone_is_of_no_scan_of_another(scans, mask):
    """The scan may be a normal one, and is not told to have masks of which none is clear."""
    assert paired(scans, mask) == ({}, {}, [mask])


def test_a_scan_and_its_mask_may_lie_in_no_folder():
    assert paired("flair.nii", "seg.nii")[0] == {"flair.nii": "seg.nii"}


def test_not_all_of_a_large_tree_of_one_name_are_compared(monkeypatch):
    """As the WMH challenge lies; of 3,000 cases that took a minute."""
    n_compared = []
    monkeypatch.setattr(
        mask_pairing,
        "_distance",
        lambda *two, told=mask_pairing._distance: n_compared.append(two) or told(*two),
    )
    n = 50
    of, _, left = paired(
        " ".join(f"site/{i}/pre/flair.nii" for i in range(n)), " ".join(f"{i}/wmh.nii" for i in range(n))
    )
    assert (len(of), left) == (n, [])
    assert len(n_compared) < n * n


def test_a_mask_in_a_folder_that_is_called_like_another_scan_is_not_taken():
    scans, mask = "images/001.nii images/005.nii", "masks/x/005/001.nii"
    of, rivals, left = paired(scans, mask)
    assert not of
    assert rivals == {"images/001.nii": [mask]}, "nor is the scan a normal one"
    assert left == [mask]


@pytest.mark.parametrize(
    ("scans", "mask"),
    [
        ("images/001.nii", "masks/005/001.nii"),
        ("images/001.nii images/005.nii", "masks/001/001.nii"),
        ("images/005/001.nii images/005.nii", "masks/005/001.nii"),
        ("images/x/001.nii x.nii", "001_mask.nii"),
    ],
)
def test_a_mask_whose_folder_tells_no_other_scan_is_taken(scans, mask):
    assert paired(scans, mask)[0] == {scans.split()[0]: mask}


def test_masks_of_another_class_are_no_rivals():
    scan, mask = "Ungood/img/1.png", "good/label/1.png"
    assert paired(scan, mask) == ({}, {}, [mask])


def test_a_scan_with_its_mask_has_no_rivals():
    of, rivals, left = paired("a/1.png", "a/mask/1.png b/mask/1.png")
    assert of == {"a/1.png": "a/mask/1.png"}
    assert not rivals
    assert left == ["b/mask/1.png"]


def test_a_scan_may_be_called_like_a_mask():
    """Of one name with its mask, it is no other scan's."""
    of, rivals, left = paired("images/a_seg.png images/a.png", "masks/a_seg.png")
    assert of == {"images/a_seg.png": "masks/a_seg.png"}
    assert (rivals, left) == ({}, [])


@pytest.mark.parametrize(
    ("scan", "near", "far"),
    [
        ("p1/a.png", "p1/mask/a.png", "lesion_masks/p1/a.png"),
        ("t1_scans/p1/a.png", "masks/t1/p1/a.png", "masks/p1/a.png"),
        ("bad/a.png", "bad/mask/a.png", "mask/a.png"),
        ("p1/s1/t1/a.png", "p1/s1/mask/a.png", "p1/mask/a.png"),
        ("p1/s1/a.png", "p1/mask/a.png", "lesion_masks/p1/a.png"),
        ("t1_scans/p1/a.png", "masks/t1/p1/x/a.png", "masks/p1/y/a.png"),
    ],
)
def test_of_several_masks_the_closest_by_all_folders_and_class_is_taken(scan, near, far):
    for masks in (f"{near} {far}", f"{far} {near}"):
        of, rivals, left = paired(scan, masks)
        assert of == {scan: near}
        assert (rivals, left) == ({}, [far])
    assert paired(scan, far)[0] == {scan: far}

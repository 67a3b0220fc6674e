"""What names of masks say: of which scan, and of what in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_dinoad.images.mask_names import is_of_tissue, masked_names


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("p1_mask", ("p1",)),
        ("P1-SEG", ("P1",)),
        ("p1.seg", ("p1",)),
        ("p1_lesion_mask", ("p1_lesion", "p1")),
        ("p1_brain_tumor_seg", ("p1_brain_tumor", "p1_brain", "p1")),
        ("a_label-L_desc-T1lesion_mask", ("a_label-L_desc-T1lesion", "a_label-L", "a")),
        ("a_space-orig_label-x_mask", ("a_space-orig_label-x", "a_space-orig", "a")),
        ("a_space-MNI_mask", ("a_space-MNI",)),
        ("mask", ("",)),
        ("tumor_seg", ("tumor", "")),
        ("lesion", ()),
        ("p1_lesion", ()),
        ("p1_1_mask", ("p1_1",)),
        ("segmentation-0", ("image-0", "img-0", "volume-0", "scan-0", "ct-0", "0")),
        ("label0001", ("image0001", "img0001", "volume0001", "scan0001", "ct0001", "0001")),
        ("roi_1_mask", ("roi_1",)),
        ("benign (1)_mask_1", ("benign (1)",)),
        ("p1_lesion_mask2", ("p1_lesion", "p1")),
        ("p1_mask_2019", ()),
        ("labelled", ()),
        ("segment", ()),
        ("unmask", ()),
        ("p1_masked", ()),
    ],
)
def test_scans_that_a_mask_may_be_of(name, of):
    """A number before the ending is another scan's, never left out."""
    assert masked_names(name) == of


@pytest.mark.parametrize(
    ("name", "is_tissue"),
    [
        ("p1_brain_mask.nii.gz", True),
        ("brainmask.nii.gz", True),
        ("brainmask.mgz", False),
        ("p1_brain_parenchyma_segmentation.nii.gz", True),
        ("p1_brain_tumor_segmentation.nii.gz", False),
        ("p1_bet_mask.nii", True),
        ("sub-1_desc-brain_mask.nii.gz", True),
        ("sub-1_dseg.nii.gz", True),
        ("sub-1_mod-T1w_defacemask.nii.gz", True),
        ("sub-1_label-lesion_dseg.nii.gz", False),
        ("aseg.mgz", True),
        ("p1_mask.nii.gz", False),
        ("brain_seg.nii.gz", False),
    ],
)
def test_masks_of_the_brain_and_its_tissues(name, is_tissue):
    path = Path(name)
    assert is_of_tissue(path, name.split(".")[0]) == is_tissue

"""Masks that were found are known by their mark, until someone changes them."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dicom_files import ct_values, save_all, series_datasets
from napari_dinoad.images.dicom.segmentations import is_found_segmentation
from napari_dinoad.images.found_masks import found_mark, is_found_mask
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap, Findings
from napari_dinoad.maps.hand_mask import HandMask
from napari_dinoad.maps.hand_outputs import save_hand_outputs
from napari_dinoad.maps.outputs import save_outputs
from segmentation_files import needed_tags

AFFINE = np.array([[0, 0, -2.0, 20], [2, 0, 0, -24], [0, 3, 0, -24], [0, 0, 0, 1]])


def volume_of(shape, affine=AFFINE):
    geometry = Geometry(shape, affine) if affine is not None else Geometry.of_pixels(shape)
    values = np.random.default_rng(0).random(geometry.canonical_shape).astype(np.float32)
    return Volume(values, geometry, "scan")


def found_in(volume):
    is_bright = volume.values > np.median(volume.values)
    mask = AnomalyMap(np.where(is_bright, 4, 0).astype(np.float32), volume).mask(0.01)
    return Findings(mask, "scan", 0.05, 39, 38, {"total": 1.5})


@pytest.mark.parametrize("shape", [(20, 24, 16), (20, 24, 16, 1), (20, 24, 1), (20, 24)])
def test_a_mask_that_was_found_is_known_until_it_is_changed(tmp_path, shape):
    volume = volume_of(shape)
    written = save_outputs(found_in(volume), tmp_path, "a", ("map", "mask"))
    assert is_found_mask(written["mask"])
    assert not is_found_mask(written["map"])
    image = nib.load(written["mask"])
    labels = np.asarray(image.dataobj)
    # As other programs save what they have read: with its text, and in a type of theirs.
    nib.save(
        nib.Nifti1Image(labels.astype(np.float32), None, image.header, dtype=np.float32),
        tmp_path / "b_mask.nii",
    )
    assert is_found_mask(tmp_path / "b_mask.nii")
    corrected = labels.copy()
    corrected[0, 0] = 1 - corrected[0, 0]
    for changed in (corrected, labels[::-1]):
        nib.save(nib.Nifti1Image(changed, None, image.header), tmp_path / "c_mask.nii.gz")
        assert nib.load(tmp_path / "c_mask.nii.gz").header["descrip"].item().startswith(b"napari-dinoad")
        assert not is_found_mask(tmp_path / "c_mask.nii.gz")


@pytest.mark.parametrize("shape", [(5, 7, 30), (3, 3, 8), (1, 1, 17), (6, 5)])
def test_the_mark_of_a_mask_is_one_however_much_of_it_is_looked_at_at_once(shape, monkeypatch):
    """Later versions, with other memory, must know it again."""
    marked = np.random.default_rng(1).random(shape) < 0.3
    whole = found_mark(marked)
    for at_once in (1, 100, 300):
        monkeypatch.setattr("napari_dinoad.images.found_masks._VOXELS_AT_ONCE", at_once)
        assert found_mark(marked) == whole
        assert found_mark(np.asfortranarray(marked.astype(np.uint8) * 7)) == whole
    changed = marked.copy()
    changed[-1, -1, ...] ^= True
    assert found_mark(changed) != whole


def test_itk_keeps_the_mark_and_a_correction_ends_it(tmp_path):
    """3D Slicer and ITK-SNAP read and write by ITK."""
    sitk = pytest.importorskip("SimpleITK")
    written = save_outputs(found_in(volume_of((20, 24, 16))), tmp_path, "a", ("mask",))
    mask = sitk.ReadImage(str(written["mask"]))
    sitk.WriteImage(mask, str(tmp_path / "b_mask.nii.gz"))
    assert is_found_mask(tmp_path / "b_mask.nii.gz")
    mask[2, 3, 4] = 1 - mask[2, 3, 4]
    sitk.WriteImage(mask, str(tmp_path / "c_mask.nii.gz"))
    assert not is_found_mask(tmp_path / "c_mask.nii.gz")


def test_a_png_mask_that_was_found_is_known_until_it_is_changed(tmp_path):
    written = save_outputs(found_in(volume_of((20, 24), None)), tmp_path, "a", ("png",))
    assert is_found_mask(written["mask_png"])
    assert not is_found_mask(written["heatmap_png"])
    with Image.open(written["mask_png"]) as image:
        pixels, texts = np.array(image), PngInfo()
        texts.add_text("Software", image.info["Software"])
    pixels[0, 0] = 255 - pixels[0, 0]
    Image.fromarray(pixels).save(tmp_path / "b_mask.png", pnginfo=texts)
    assert not is_found_mask(tmp_path / "b_mask.png")


def test_masks_by_hand_are_not_marked_as_found(tmp_path):
    volume = volume_of((20, 24), None)
    hand = HandMask((volume.values > 0.5).astype(np.uint8), volume, "drawn")
    written = save_hand_outputs(hand, tmp_path, "a", ("mask", "png"))
    assert not any(map(is_found_mask, written.values()))


def test_a_dicom_segmentation_that_was_found_is_known(tmp_path):
    save_all(series_datasets(ct_values(6, 16, 20), **needed_tags()), tmp_path / "ct")
    volume = read_volume(tmp_path / "ct")
    for segments in ("single", "regions"):
        written = save_outputs(found_in(volume), tmp_path, "a", ("seg",), seg_segments=segments)
        assert is_found_segmentation(written["seg"])
    for making in ("drawn", "corrected"):
        hand = HandMask((volume.values > 9).astype(np.uint8), volume, making)
        assert not is_found_segmentation(save_hand_outputs(hand, tmp_path, "b", ("seg",))["seg"])


def test_files_that_cannot_be_read_are_no_found_masks(tmp_path):
    for name in ("a_mask.nii.gz", "a_mask.png", "a_mask.nii"):
        (tmp_path / name).write_bytes(b"no mask")
        assert not is_found_mask(tmp_path / name)
    assert not is_found_segmentation(tmp_path / "a_mask.png")

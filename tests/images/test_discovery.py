"""A folder with everything that goes wrong: each file appears once, with its reason."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image
from pydicom.uid import generate_uid

from detached_headers import save_with_voxels_apart
from dicom_files import PATIENT_TAGS, as_one_series, ct_values, image_dataset, save_all, series_datasets
from napari_dinoad.errors import Cancelled, ScanReadError, SeveralFramesError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.settings import ReadSettings


@pytest.fixture
def messy(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("b.nii.gz", "a.nii"):
        nib.save(nib.Nifti1Image(rng.normal(size=(4, 5, 6)), np.diag([1, 2, 3, 1.0])), tmp_path / name)
    nib.save(nib.Nifti1Image(rng.normal(size=(4, 5, 6, 3)), np.eye(4)), tmp_path / "series.nii.gz")
    (tmp_path / "text.nii").write_text("no scan")
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / ".hidden").write_text("")
    (tmp_path / "empty").mkdir()
    (tmp_path / "deeper" / "still").mkdir(parents=True)
    Image.fromarray(np.zeros((7, 9), np.uint8)).save(tmp_path / "deeper" / "still" / "x.PNG")
    (tmp_path / "deeper" / "broken.jpg").write_bytes(b"nothing")
    return tmp_path


def test_every_file_appears_once(messy):
    found = discover_scans(messy)
    assert [scan.path.name for scan in found.scans] == ["a.nii", "b.nii.gz", "x.PNG"]
    reasons = {item.path.name: item.reason for item in found.skipped}
    assert set(reasons) == {"series.nii.gz", "text.nii", "notes.txt", ".hidden", "empty", "broken.jpg"}
    assert "3 frames" in reasons["series.nii.gz"]
    assert "not a readable NIfTI" in reasons["text.nii"]
    assert "not a scan" in reasons["notes.txt"]
    assert reasons["empty"] == "empty folder"
    assert all(str(messy) not in reason for reason in reasons.values())


@pytest.mark.parametrize(
    ("code", "told"), [(1002, "a mask by its header"), (24, "a map of −log10 p by its header")]
)
def test_masks_and_maps_are_no_scans_whatever_their_name(tmp_path, code, told):
    for name, intent in (("a.nii", 0), ("corrected.nii", code)):
        image = nib.Nifti1Image(np.arange(120, dtype=np.uint8).reshape(4, 5, 6), np.eye(4))
        image.header["intent_code"] = intent
        nib.save(image, tmp_path / name)
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["a"]
    assert [(item.path.name, item.is_scan) for item in found.skipped] == [("corrected.nii", False)]
    assert found.skipped[0].reason.startswith(told)
    assert [scan.name for scan in found.results] == ["corrected"]


@pytest.mark.parametrize("beside", ["x_report.json", "x_anomaly.nii.gz"])
def test_results_of_first_versions_are_known_by_their_names_and_what_lies_beside(tmp_path, beside):
    """Their headers say nothing; a name alone does not either."""
    for name, dtype in (("x_mask", np.uint8), ("y_mask", np.uint8), ("x_anomaly", np.float32)):
        image = nib.Nifti1Image(np.arange(120, dtype=dtype).reshape(4, 5, 6), np.eye(4))
        nib.save(image, tmp_path / f"{name}.nii.gz")
    if beside != "x_anomaly.nii.gz":
        (tmp_path / "x_anomaly.nii.gz").unlink()
        (tmp_path / beside).write_text("{}")
    nib.save(nib.Nifti1Image(np.ones((4, 5, 6), np.int16), np.eye(4)), tmp_path / "z_mask.nii.gz")
    (tmp_path / "z_report.json").write_text("{}")
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["y_mask", "z_mask"]
    reasons = {item.path.name: item.reason for item in found.skipped}
    assert reasons["x_mask.nii.gz"] == "a mask by its header or name, not a scan"
    assert "x_mask" in [scan.name for scan in found.results]


def test_results_of_a_frame_beside_its_scan_are_no_scans(tmp_path):
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((8, 9, 7, 3)), np.eye(4)), tmp_path / "p.nii.gz")
    for name in ("p_frame1_picture.png", "p_frame0-2_heatmap.png", "q_frame1_picture.png"):
        Image.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / name)
    found = discover_scans(tmp_path, ReadSettings(frame=1))
    assert [scan.name for scan in found.scans] == ["p", "q_frame1_picture"]
    assert {item.reason for item in found.skipped} == {
        "a mask or result of p_frame1",
        "a mask or result of p_frame0-2",
    }


@pytest.mark.parametrize("beside", ["a_report.json", "a_anomaly.nii.gz", "scored/a.json"])
@pytest.mark.parametrize("stack_folders", [False, True])
def test_pictures_of_results_are_no_scans_where_their_scan_is_not(tmp_path, beside, stack_folders):
    """A folder of results was scored, and fitted, as one of photographs."""
    for name in ("a_picture", "a_heatmap", "a_mask", "b_picture", "c_mask"):
        Image.fromarray(np.eye(9, dtype=np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "scored").mkdir()
    (tmp_path / beside).write_text("{}")
    found = discover_scans(tmp_path, ReadSettings(stack_folders=stack_folders))
    (scans,) = (scan.images for scan in found.scans) if stack_folders else ([s.path for s in found.scans],)
    assert [path.name for path in scans] == ["b_picture.png", "c_mask.png"]
    reasons = {item.path.name: item.reason for item in found.skipped if item.path.suffix == ".png"}
    assert reasons == dict.fromkeys(
        ("a_picture.png", "a_heatmap.png", "a_mask.png"), "a picture of a result, not a scan"
    )


def test_a_mask_of_all_sequences_of_a_case_is_no_scan(tmp_path):
    """Outlines of tissue that lie beside normal heads were fitted as heads."""
    save_volumes(tmp_path, "a_t1.nii.gz", "a_seg.nii.gz", "b-t2f.nii.gz", "b-seg.nii.gz", "c_seg.nii.gz")
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["a_t1", "b-t2f", "c_seg"]
    assert {item.path.name: item.reason for item in found.skipped} == {
        "a_seg.nii.gz": "a mask or result of a",
        "b-seg.nii.gz": "a mask or result of b",
    }
    assert {item.kind for item in found.skipped} == {"a mask or result of another scan"}


def test_masks_are_known_by_their_names_in_capitals_too(tmp_path):
    """Of MSLesSeg, whose masks are called ``P1_T1_MASK``, these were fitted as heads."""
    save_volumes(
        tmp_path, "P1_T1_FLAIR.nii.gz", "P1_T1_MASK.nii.gz", "P1_T1_T1.nii.gz", "p2.nii", "p2-Seg.nii"
    )
    save_volumes(tmp_path / "3", "T1.nii.gz", "Seg.nii.gz", "a_Segmentation.nii.gz")
    save_volumes(tmp_path / "mri", "brain.MGZ", "ribbon.MGZ")
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["T1", "P1_T1_FLAIR", "P1_T1_T1", "brain", "p2"]


@pytest.mark.parametrize(
    ("images", "masks"), [("imagesTr", "labelsTr"), ("image", "mask"), ("good", "ground_truth")]
)
def test_masks_in_a_folder_beside_the_scans_are_none(tmp_path, images, masks):
    """Of the Medical Segmentation Decathlon, BMAD and others: they have the scans' names."""
    save_volumes(tmp_path / images, "a.nii.gz", "b.nii.gz")
    save_volumes(tmp_path / masks, "a.nii.gz", "b.nii.gz", "c.nii.gz")
    found = discover_scans(tmp_path)
    assert {scan.path.relative_to(tmp_path).as_posix() for scan in found.scans} == {
        f"{images}/a.nii.gz", f"{images}/b.nii.gz", f"{masks}/c.nii.gz",
    }  # fmt: skip
    assert [(item.path.name, item.reason) for item in found.skipped] == [
        (f"{name}.nii.gz", f"a mask by its folder, {masks}") for name in "ab"
    ]
    assert [scan.path.name for scan in found.results if scan.holding == "mask"] == ["a.nii.gz", "b.nii.gz"]
    alone = discover_scans(tmp_path / masks)
    assert len(alone.scans) == 3, "somebody may call a folder of scans so"


def test_labels_of_nnu_net_have_the_names_of_cases_without_channel(tmp_path):
    save_volumes(tmp_path / "imagesTr", "a_0000.nii.gz", "a_0001.nii.gz", "b_t1.nii.gz")
    save_volumes(tmp_path / "labelsTr", "a.nii.gz", "b.nii.gz", "a_1.nii.gz")
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["a_0000", "a_0001", "b_t1", "a_1"]


def test_masks_of_scans_that_cannot_be_used_are_no_scans(tmp_path):
    """Of tumours in 4D, as in the Medical Segmentation Decathlon, a model was fitted on the outlines."""
    save_volumes(tmp_path / "labelsTr", "a.nii.gz", "b.nii.gz")
    (tmp_path / "imagesTr").mkdir()
    series = nib.Nifti1Image(np.zeros((4, 5, 6, 2), np.float32), np.eye(4))
    nib.save(series, tmp_path / "imagesTr" / "a.nii.gz")
    (tmp_path / "imagesTr" / "b.nii.gz").write_bytes(b"cut short")
    nib.save(series, tmp_path / "c.nii")
    save_volumes(tmp_path, "c_mask.nii")
    found = discover_scans(tmp_path)
    assert found.scans == ()
    assert {item.reason for item in found.skipped if not item.is_scan} == {
        "a mask by its folder, labelsTr",
        "a mask or result of c",
    }


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nhdr", ".nrrd"])
def test_files_with_the_voxels_of_a_scan_are_not_told_to_be_none(tmp_path, suffix):
    """Each was skipped as "not a scan", as if the scan had been read without its voxels."""
    pytest.importorskip("SimpleITK")
    for name in ("anna", "berta"):
        save_with_voxels_apart(tmp_path / f"{name}{suffix}", np.arange(24, dtype=np.int16))
    (tmp_path / "other.raw").write_bytes(b"else")
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["anna", "berta"]
    assert [item.path.name for item in found.skipped] == ["other.raw"]
    (tmp_path / f"berta{suffix}").unlink()
    assert [item.path.name for item in discover_scans(tmp_path).skipped] == ["berta.raw", "other.raw"]


@pytest.mark.parametrize("is_relative", [True, False])
def test_files_with_voxels_may_lie_in_another_folder(tmp_path, monkeypatch, is_relative):
    """Headers name them by a way back, or from the root."""
    pytest.importorskip("SimpleITK")
    monkeypatch.chdir(tmp_path)
    for name in ("headers", "voxels"):
        (tmp_path / "ct" / name).mkdir(parents=True)
    path = tmp_path / "ct" / "headers" / "anna.mhd"
    save_with_voxels_apart(path, np.arange(24))
    raw = path.with_suffix(".raw").rename(tmp_path / "ct" / "voxels" / "anna.raw")
    path.write_text(path.read_text().replace("anna.raw", "../voxels/anna.raw" if is_relative else str(raw)))
    found = discover_scans("ct")
    assert [scan.name for scan in found.scans] == ["anna"] and not found.skipped


def save_segments(path, labels):
    """Write labels (k, j, i), or layers of them (…, n), as 3D Slicer does."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.GetImageFromArray(labels, isVector=labels.ndim == 4)
    image.SetMetaData("Segment0_ID", "Segment_1")
    image.SetMetaData("Segment0_Name", "ribs")
    sitk.WriteImage(image, str(path), useCompression=True)


@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 2)], ids=["one layer", "two that overlap"])
@pytest.mark.parametrize("name", ["Segmentation.seg.nrrd", "lesion.nrrd"])
def test_segmentations_of_3d_slicer_are_no_scans(tmp_path, shape, name):
    """They were normal scans of the folder, and scored as one."""
    sitk = pytest.importorskip("SimpleITK")
    values = np.random.default_rng(0).random((3, 4, 5), dtype=np.float32)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(tmp_path / "ct.nrrd"))
    save_segments(tmp_path / name, np.ones(shape, np.uint8))
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["ct"]
    assert [(item.path.name, item.reason) for item in found.skipped] == [
        (name, "a mask by its header, not a scan")
    ]
    assert [(scan.path.name, scan.holding) for scan in found.results] == [(name, "mask")]


def test_masks_by_their_bids_names_are_no_scans(tmp_path):
    """Derivatives of BIDS lie in folders of their own, and few programs set the intent code."""
    masks = ["sub-01_desc-brain_mask.nii.gz", "sub-01_dseg.nii", "sub-01_label-GM_probseg.nii.gz"]
    derived = tmp_path / "prep" / "sub-01" / "anat"
    derived.mkdir(parents=True)
    values = np.arange(120, dtype=np.uint8).reshape(4, 5, 6)
    scans = [
        tmp_path / "sub-01_T1w.nii.gz",
        tmp_path / "mine_mask.nii.gz",
        derived / "sub-01_desc-preproc_T1w.nii.gz",
    ]
    for path in (*scans, *(derived / name for name in masks)):
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    found = discover_scans(tmp_path)
    assert {scan.path for scan in found.scans} == set(scans)
    by_name = "a mask by its BIDS name, not a scan"
    assert {item.path.name: item.reason for item in found.skipped} == {
        masks[0]: "a mask or result of sub-01",
        masks[1]: by_name,
        masks[2]: by_name,
    }
    assert sorted(scan.path.name for scan in found.results) == sorted(masks)
    assert {scan.holding for scan in found.results} == {"mask"}


def save_volumes(folder, *names):
    for place, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = nib.MGHImage if path.suffix == ".mgz" else nib.Nifti1Image
        nib.save(kind(np.arange(120, dtype=np.uint8).reshape(4, 5, 6) + place, np.eye(4)), path)


def test_labels_and_surfaces_of_freesurfer_are_no_scans(tmp_path):
    """A model was fitted on ``aseg`` and ``ribbon`` beside heads."""
    labels = ["aparc+aseg.mgz", "aparc.DKTatlas+aseg.nii.gz", "aseg.mgz", "aseg.presurf.mgz", "lh.ribbon.mgz",
              "ribbon.mgz", "sub-1_aseg.nii.gz", "wm.mgz", "wmparc.mgz"]  # fmt: skip
    scans = ["T1.mgz", "brain.finalsurfs.mgz", "brain.mgz", "nu.mgz", "wm-001.nii.gz"]
    save_volumes(tmp_path / "mri", *labels, *scans)
    nib.save(nib.MGHImage(np.ones((50, 1, 1), np.float32), np.eye(4)), tmp_path / "lh.thickness.mgh")
    found = discover_scans(tmp_path)
    assert [scan.path.name for scan in found.scans] == scans
    assert sorted(scan.path.name for scan in found.results) == labels
    reasons = {item.path.name: item.reason for item in found.skipped}
    assert "as of a surface" in reasons.pop("lh.thickness.mgh")
    assert reasons == dict.fromkeys(labels, "a mask by its FreeSurfer name, not a scan")


def test_masks_that_are_called_so_beside_a_scan_are_no_scans(tmp_path):
    """Of folders with ``t1`` and ``seg`` of each person, both were fitted as heads."""
    save_volumes(tmp_path / "1", "t1.nii.gz", "seg.nii.gz")
    save_volumes(tmp_path / "2", "imaging.nii.gz", "segmentation.nii.gz", "a_tumor_segmentation.nii.gz")
    save_volumes(tmp_path / "alone", "mask.nii.gz")
    save_volumes(tmp_path / "patients", "healthy.nii.gz", "lesion.nii.gz")
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["t1", "imaging", "mask", "healthy", "lesion"]
    assert {item.reason for item in found.skipped} == {"a mask by its name, beside scans"}
    assert {scan.holding for scan in found.results} == {"mask"}


@pytest.mark.parametrize(
    ("scan", "mask"),
    [
        ("P1/T1/P1_T1_FLAIR", "P1/T1/P1_T1_MASK"),
        ("p1", "p1_lesion_mask"),
        ("p1", "p1-label"),
        ("p1_t1", "p1_t1_brain_mask"),
        ("sub-1_ses-1_dwi", "sub-1_ses-1_msk"),
        ("sub-1_space-MNI_T1w", "sub-1_space-MNI_label-L_desc-T1lesion_mask"),
        ("sub-1_acq-a_FLAIR", "sub-1_acq-a_FLAIR_roi"),
        ("p1/FLAIR", "p1/consensus_gt"),
        ("p1/FLAIR", "p1/brainmask"),
        ("100/pre/FLAIR", "100/wmh"),
        ("volume-0", "segmentation-0"),
        ("images/image_01", "masks/mask_01"),
        ("img/img0001", "label/label0001"),
        ("sub-1_T1w", "sub-1_mod-T1w_defacemask"),
    ],
)
def test_masks_by_the_names_of_published_data_sets_are_no_scans(tmp_path, scan, mask):
    """Of MSLesSeg, ISLES, ATLAS, OpenMS, the WMH challenge and others; outlines were fitted as heads."""
    save_volumes(tmp_path, f"{scan}.nii.gz", f"{mask}.nii.gz", "other/heads/p9.nii.gz")
    found = discover_scans(tmp_path)
    assert [one.path.relative_to(tmp_path).as_posix() for one in found.scans] == [
        *sorted(("other/heads/p9.nii.gz", f"{scan}.nii.gz"))
    ]
    assert {item.reason.split(",")[0][:16] for item in found.skipped} <= {
        "a mask or result", "a mask by its na", "a mask by its BI",
    }  # fmt: skip


def test_scans_that_fsl_cropped_are_scans_unless_others_lie_beside_them(tmp_path):
    """Its ending for them is BIDS's one of a region of interest: nothing was left to fit on."""
    for n in (1, 2):
        save_volumes(tmp_path / f"sub-{n}", f"sub-{n}_T1w_roi.nii.gz", f"sub-{n}_desc-lesion_roi.nii.gz")
    save_volumes(tmp_path / "sub-3", "sub-3_T1w.nii.gz", "sub-3_FLAIR_roi.nii.gz")
    found = discover_scans(tmp_path)
    assert [scan.name for scan in found.scans] == ["sub-1_T1w_roi", "sub-2_T1w_roi", "sub-3_T1w"]
    assert {item.path.name: item.reason for item in found.skipped} == {
        "sub-1_desc-lesion_roi.nii.gz": "a mask by its BIDS name, not a scan",
        "sub-2_desc-lesion_roi.nii.gz": "a mask by its BIDS name, not a scan",
        "sub-3_FLAIR_roi.nii.gz": "a mask by its name, beside scans",
    }


@pytest.mark.parametrize("place", ["p1", "p1/003", "p1/study/003"])
def test_a_mask_beside_the_files_of_a_dicom_series_is_no_scan(tmp_path, place):
    """As ITK-SNAP saves it: it was fitted as a scan where it lay among the files of the series."""
    save_all(series_datasets(ct_values()), tmp_path / place)
    save_volumes(tmp_path / place, "mask.nii.gz", "lesion_seg.nii.gz")
    save_volumes(tmp_path / "p1", "segmentation.nii.gz")
    found = discover_scans(tmp_path)
    assert [scan.path for scan in found.scans] == [tmp_path / place]
    assert {item.reason for item in found.skipped} == {"a mask by its name, beside scans"}


def test_a_scan_without_its_skull_is_none_by_freesurfers_name_for_it(tmp_path):
    save_volumes(tmp_path / "mri", "T1.mgz", "brainmask.mgz")
    assert [scan.name for scan in discover_scans(tmp_path).scans] == ["T1", "brainmask"]


@pytest.mark.parametrize("raw", ["", "rawdata/"])
def test_derivatives_and_source_data_are_left_to_the_scans_that_they_are_of(tmp_path, raw):
    """One person's scan, as it came from the scanner and preprocessed, is not two normal scans."""
    raw_scans = [f"{raw}sub-0{n}/anat/sub-0{n}_T1w.nii.gz" for n in (1, 2)]
    preprocessed = [f"derivatives/prep/sub-0{n}/anat/sub-0{n}_desc-preproc_T1w.nii.gz" for n in (1, 2)]
    save_volumes(tmp_path, *raw_scans, *preprocessed)
    save_all(series_datasets(ct_values()), tmp_path / "sourcedata" / "sub-01")
    found = discover_scans(tmp_path)
    assert [scan.path for scan in found.scans] == [tmp_path / name for name in raw_scans]
    reasons = {item.path.relative_to(tmp_path).as_posix(): item.reason for item in found.skipped}
    assert set(reasons) == {"sourcedata", "derivatives"}
    assert reasons["derivatives"].startswith("derivatives of the scans beside it, of the same persons")
    assert all("name this folder itself" in reason for reason in reasons.values())
    found = discover_scans(tmp_path / "derivatives")
    assert [scan.path for scan in found.scans] == [tmp_path / name for name in preprocessed]
    assert [scan.name for scan in discover_scans(tmp_path / "sourcedata").scans] == ["sub-01"]


def test_derivatives_without_the_scans_that_they_are_of_are_the_scans(tmp_path):
    save_volumes(tmp_path, "a/derivatives/prep/sub-01_desc-x_T1w.nii", "b/derivatives/prep/sub-02_T1w.nii")
    save_volumes(tmp_path, "b/sub-02_T1w.nii", "c/sourcedata/sub-03.nii", "c/derivatives/sub-03.nii")
    save_volumes(tmp_path, "d/derivatives/prep/sub-04_T1w.nii", "d/sub-04_label-x_mask.nii")
    found = discover_scans(tmp_path)
    assert [scan.path.relative_to(tmp_path).as_posix() for scan in found.scans] == [
        "a/derivatives/prep/sub-01_desc-x_T1w.nii",
        "b/sub-02_T1w.nii",
        "c/sourcedata/sub-03.nii",
        "d/derivatives/prep/sub-04_T1w.nii",
    ]
    assert {item.path.relative_to(tmp_path).as_posix() for item in found.skipped} == {
        "b/derivatives",
        "c/derivatives",
        "d/sub-04_label-x_mask.nii",
    }


def test_headers_are_told(messy):
    scans = {scan.path.name: scan for scan in discover_scans(messy).scans}
    assert scans["a.nii"].kind == "volume"
    assert scans["a.nii"].shape == (4, 5, 6)
    assert scans["a.nii"].spacing_mm == (1, 2, 3)
    assert scans["x.PNG"].kind == "image"
    assert scans["x.PNG"].shape == (7, 9)


def test_every_file_is_told_and_the_caller_may_stop(messy, tmp_path):
    save_all(series_datasets(ct_values()), tmp_path / "ct")
    events = []
    found = discover_scans(messy, progress=events.append)
    assert found == discover_scans(messy)
    n_entries = sum(1 for _ in messy.rglob("*"))
    assert [event.done for event in events if event.stage == "Looking for scans"] == list(range(n_entries))
    n_headers = sum(event.stage == "Reading headers" for event in events)
    assert n_headers == sum(len(scan.series.files) for scan in found.scans if scan.series) > 1

    def stop_at(stage):
        def progress(event):
            if event.stage == stage:
                raise Cancelled("Cancelled.")

        return progress

    for stage in ("Looking for scans", "Reading headers"):
        with pytest.raises(Cancelled):
            discover_scans(messy, progress=stop_at(stage))


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ScanReadError, match="expected a folder"):
        discover_scans(tmp_path / "none")


@pytest.fixture
def archive(tmp_path):
    """What a hospital's archive exports: two series, a localiser, an X-ray, a report, a copy, all mixed up."""
    folder = tmp_path / "archive"
    first = series_datasets(ct_values(), SeriesNumber=3, SeriesDescription="T1 AX")
    second = series_datasets(ct_values(n=4, seed=1), SeriesNumber=4, SeriesDescription="T2")
    scout = series_datasets(
        ct_values(n=1), SeriesNumber=1, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"], gap=1.0
    )
    x_ray = image_dataset(ct_values(n=1)[0].astype(np.uint16), Modality="DX", SeriesInstanceUID="1.2.3")
    report = image_dataset(
        ct_values(n=1)[0], sop_class="1.2.840.10008.5.1.4.1.1.88.11", SeriesInstanceUID="1.4"
    )
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(report, tag)
    save_all([*first[:3], *second, *scout, x_ray, report], folder / "a", np.random.default_rng(1))
    save_all([*first[3:], first[0]], folder / "b", np.random.default_rng(2))
    return folder


def test_each_dicom_series_is_a_scan(archive):
    found = discover_scans(archive)
    by_name = {scan.name: scan for scan in found.scans}
    assert len(found.scans) == 3
    assert by_name["archive"].shape == (12, 10, 6), "a series may lie in several folders"
    assert by_name["archive"].path == archive
    assert by_name["a"].shape == (12, 10, 4)
    assert by_name["a"].spacing_mm == (0.5, 0.5)
    [x_ray] = [scan for scan in found.scans if scan.kind == "image"]
    assert x_ray.shape == (10, 12)
    reasons = [item.reason for item in found.skipped]
    assert sorted(reasons) == [
        "DICOM, but not an image (Basic Text SR Storage).",
        "a copy of another file of its series",
        "series 1: a localiser (scout), not a scan",
    ]
    assert [item.kind for item in found.skipped] == [reason.removeprefix("series 1: ") for reason in reasons]
    for scan in found.scans:
        assert scan.read().name == scan.name
    n_files = sum(1 for path in archive.rglob("*") if path.is_file())
    assert sum(len(scan.series.files) for scan in found.scans) + 3 == n_files


def test_the_modality_that_most_scans_name(archive, messy):
    assert discover_scans(archive).modality == "CT"
    assert discover_scans(messy / "deeper").modality == ""
    assert discover_scans(messy / "empty").modality == ""


def test_a_series_can_be_chosen_for_all(archive):
    found = discover_scans(archive, ReadSettings(series="t2"))
    assert [scan.name for scan in found.scans] == ["a"]
    assert "series 3: not the series chosen" in [item.reason for item in found.skipped]


def test_a_pattern_chooses_series_of_several_descriptions(archive):
    found = discover_scans(archive, ReadSettings(series="T?*"))
    assert sorted(scan.series.description for scan in found.scans) == ["T1 AX", "T2"]


def test_ct_series_of_one_description_are_told_apart_by_their_kernel(tmp_path):
    """Soft tissue and bone could be told apart by their numbers alone, which differ from study to study."""
    for study in range(3):
        uid = generate_uid()
        for number, kernel in enumerate((["Br40f", "3"], "BONE"), start=2 + study):
            tags = {"SeriesDescription": "Head", "StudyInstanceUID": uid, "SeriesNumber": number}
            save_all(
                series_datasets(ct_values(seed=study), ConvolutionKernel=kernel, **tags),
                tmp_path / str(study) / str(number),
            )
    found = discover_scans(tmp_path)
    assert found.series == (("Head Br40f", 3), ("Head BONE", 3))
    for wanted in ("bone", "Head BONE", "*bone", "h*bone"):
        scans = discover_scans(tmp_path, ReadSettings(series=wanted)).scans
        assert [scan.series.kernel for scan in scans] == ["BONE"] * 3
    for wanted in ("Head", "He?d"):
        assert len(discover_scans(tmp_path, ReadSettings(series=wanted)).scans) == 6
    with pytest.raises(
        ScanReadError, match=r"series 2 'Head' \(CT, 6 images, kernel Br40f, UID .* kernel BONE"
    ):
        read_volume(tmp_path / "0")
    assert read_volume(tmp_path / "0", series="bone").values.shape == (6, 10, 12)


def test_kernels_of_one_letter_are_no_part_of_a_word_in_the_description(tmp_path):
    """As Philips has them: both series were called by the description alone."""
    for number, kernel in enumerate("AB"):
        tags = {"SeriesDescription": "ABDOMEN", "ConvolutionKernel": kernel, "SeriesNumber": number}
        save_all(series_datasets(ct_values(), **tags), tmp_path / kernel)
    assert [name for name, _ in discover_scans(tmp_path).series] == ["ABDOMEN A", "ABDOMEN B"]


def test_no_series_answers_to_a_number_that_it_lacks(tmp_path):
    save_all(series_datasets(ct_values(), SeriesNumber=None), tmp_path)
    assert not discover_scans(tmp_path, ReadSettings(series="none")).scans


@pytest.mark.parametrize("description", ["HeadSeq 4.8 H31s", "Head_H31s_5mm", ""])
def test_a_kernel_is_not_said_twice_or_alone(tmp_path, description):
    tags = {"SeriesDescription": description, "ConvolutionKernel": "h31S", "SeriesNumber": 4}
    save_all(series_datasets(ct_values(), **tags), tmp_path)
    assert discover_scans(tmp_path).series == ((description or "4", 1),)
    assert len(discover_scans(tmp_path, ReadSettings(series="H31s")).scans) == 1


@pytest.fixture
def sequences(tmp_path):
    """Two persons' T1 and T2 by their names, a mask of one, and a scan that is named otherwise."""
    names = ("a/sub-1_T1w", "a/sub-1_T2w", "b/sub-2_t1w", "b/sub-2_T2w", "b/sub-2_seg", "other")
    for seed, name in enumerate(names):
        path = tmp_path / f"{name}.nii"
        path.parent.mkdir(exist_ok=True)
        values = np.random.default_rng(seed).normal(size=(4, 5, 6))
        nib.save(nib.Nifti1Image(values, np.eye(4)), path)
    return tmp_path


def test_sequences_in_names_are_series_to_choose_from(sequences):
    found = discover_scans(sequences)
    assert found.series == (("T1w", 2), ("T2w", 2))
    assert len(found.scans) == 5
    chosen = discover_scans(sequences, ReadSettings(series="T1w"))
    assert [scan.name for scan in chosen.scans] == ["sub-1_T1w", "sub-2_t1w"]
    assert chosen.series == found.series, "what else there is can still be chosen"
    reasons = {item.path.name: item.reason for item in chosen.skipped}
    assert reasons == {
        "other.nii": "not the series chosen",
        "sub-1_T2w.nii": "not the series chosen",
        "sub-2_T2w.nii": "not the series chosen",
        "sub-2_seg.nii": "a mask or result of sub-2",
    }


def test_series_of_other_ways_to_name_files_can_be_chosen(tmp_path):
    """Whole names, channels of nnU-Net, volumes of FreeSurfer and references of BIDS were not listed."""
    save_volumes(tmp_path / "1", "T1.nii.gz", "flair.nii.gz")
    save_volumes(tmp_path / "imagesTr", "a_0000.nii.gz", "a_0001.nii.gz")
    save_volumes(tmp_path / "sub-1" / "mri", "T1.mgz", "brain.mgz")
    save_volumes(tmp_path / "sub-1" / "func", "sub-1_task-rest_sbref.nii.gz")
    save_volumes(tmp_path / "slices", "a_0000.nii.gz", "a_0001.nii.gz", "brain.nii.gz")
    named = dict(discover_scans(tmp_path).series)
    assert named == {"T1": 2, "flair": 1, "0000": 1, "0001": 1, "brain": 1, "sbref": 1}


@pytest.mark.parametrize("wanted", ["nu", "NU ", "brain"])
def test_of_freesurfers_volumes_one_is_chosen(tmp_path, wanted):
    """``orig_nu`` and ``antsdn.brain`` end so, too: a fit was made on two volumes of each person."""
    save_volumes(tmp_path / "mri", "nu.mgz", "orig_nu.mgz", "brain.mgz", "antsdn.brain.mgz")
    (scan,) = discover_scans(tmp_path, ReadSettings(series=wanted)).scans
    assert scan.name == wanted.strip().lower()


@pytest.mark.parametrize(
    ("wanted", "names"),
    [
        ("a/t1", ["a/T1"]),
        ("?/t1", ["a/T1", "b/T1"]),
        ("b/*", ["b/T1", "b/x"]),
        ("*b*", []),
        ("b", []),
        ("/x", []),
    ],
)
def test_with_a_slash_the_folder_of_a_file_counts(tmp_path, wanted, names):
    save_volumes(tmp_path, "a/T1.nii", "b/T1.nii", "b/x.nii")
    found = discover_scans(tmp_path, ReadSettings(series=wanted)).scans
    assert [f"{scan.path.parent.name}/{scan.name}" for scan in found] == names


def test_a_file_that_is_named_itself_is_read_whatever_series_is_meant(sequences):
    scan = ScanFile.of_file(sequences / "other.nii")
    assert scan.read(ReadSettings(series="T1w")).values.shape == (6, 5, 4)


def test_descriptions_are_series_to_choose_from_without_scouts(archive):
    assert discover_scans(archive).series == (("T1 AX", 1), ("T2", 1))
    assert discover_scans(archive, ReadSettings(series="3")).series == (("T1 AX", 1), ("T2", 1))


def test_series_of_one_folder_get_names_of_their_own(tmp_path):
    for number in (3, 4, 4):
        rng = np.random.default_rng(len(list(tmp_path.rglob("*"))))
        save_all(series_datasets(ct_values(), SeriesNumber=number), tmp_path / "head", rng)
    names = [scan.name for scan in discover_scans(tmp_path).scans]
    assert len(set(names)) == 3
    assert all(name.startswith("head_series") for name in names)


def test_a_frame_lets_series_of_frames_in(messy):
    rng = np.random.default_rng(0)
    tifffile.imwrite(
        messy / "pages.tif", rng.integers(0, 255, (3, 8, 10), dtype=np.uint8), photometric="minisblack"
    )
    plain = {scan.path.name: scan for scan in discover_scans(messy).scans}
    assert plain["pages.tif"].shape == (3, 8, 10)
    reading = ReadSettings(frame=2)
    framed = {scan.path.name: scan for scan in discover_scans(messy, reading).scans}
    assert framed["series.nii.gz"].shape == (4, 5, 6)
    assert framed["series.nii.gz"].read(reading).notes == ("Frame 2 of 3, counted from 0.",)
    assert framed["pages.tif"].read(reading).values.shape == (1, 8, 10)
    assert framed["a.nii"].read(reading).notes == (), "a plain volume is read as ever"


def test_all_formats_of_several_frames_give_the_same_advice(tmp_path):
    sitk = pytest.importorskip("SimpleITK")
    voxels = np.random.default_rng(0).integers(1, 255, (3, 4, 9, 8)).astype(np.uint8)
    nib.save(nib.Nifti1Image(voxels.T, np.eye(4)), tmp_path / "a.nii")
    nib.save(nib.MGHImage(voxels.T, np.eye(4)), tmp_path / "b.mgz")
    for name in ("c.nrrd", "d.mha"):
        sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=False), str(tmp_path / name))
    tifffile.imwrite(tmp_path / "e.tif", voxels, metadata={"axes": "TZYX"}, ome=True)
    times = [series_datasets(ct_values(seed=time), TemporalPositionIdentifier=time) for time in range(3)]
    save_all(as_one_series([one for datasets in times for one in datasets]), tmp_path / "f")
    found = discover_scans(tmp_path)
    assert [scan.path.name for scan in found.scans] == ["f"]
    told = {item.path.name: item.reason for item in found.skipped}
    assert len(told) == 5
    for name in "a.nii", "b.mgz", "c.nrrd", "d.mha", "e.tif", "f":
        with pytest.raises(SeveralFramesError) as error:
            read_volume(tmp_path / name)
        for message in (str(error.value), told.get(name, str(error.value))):
            assert "a series of 3 frames" in message
            assert (
                "expected one volume. Split the series into volumes. Or choose one with --frame 0 to 2."
                in message
            )


def test_a_frame_leaves_named_scans_without_frames_as_they_are(messy):
    sitk = pytest.importorskip("SimpleITK")
    rng = np.random.default_rng(0)
    slices = save_all(series_datasets(ct_values()), messy / "plain", rng)
    x_ray = save_all(
        [image_dataset(ct_values(n=1)[0].astype(np.uint16), Modality="DX", SeriesInstanceUID="1.2.3")],
        messy / "x_ray",
        rng,
    )
    sitk.WriteImage(sitk.GetImageFromArray(rng.random((4, 5, 6))), str(messy / "c.nrrd"))
    Image.fromarray(rng.integers(0, 255, (7, 9), dtype=np.uint8)).save(messy / "d.png")
    reading = ReadSettings(frame=2)
    for path in (messy / "a.nii", messy / "c.nrrd", messy / "d.png", slices[3], x_ray[0]):
        scan = ScanFile.of_file(path)
        np.testing.assert_array_equal(scan.read(reading).values, scan.read().values)


def test_a_frame_is_chosen_of_named_scans_with_several(messy):
    rng = np.random.default_rng(0)
    pages = rng.integers(0, 255, (3, 8, 10), dtype=np.uint8)
    tifffile.imwrite(messy / "pages.tif", pages, photometric="minisblack")
    places = [(-3, -4, 2.0 * k) for k in range(6)]
    times = [series_datasets(ct_values(seed=seed), places=places) for seed in range(3)]
    for number, datasets in enumerate(times):
        for dataset in datasets:
            dataset.TemporalPositionIdentifier = number
    dicom = save_all(as_one_series([one for datasets in times for one in datasets]), messy / "times", rng)
    for path in (messy / "series.nii.gz", messy / "pages.tif", min(dicom)):
        scan = ScanFile.of_file(path)
        assert len({scan.read(ReadSettings(frame=frame)).values.tobytes() for frame in range(3)}) == 3
        with pytest.raises(ScanReadError, match="expected 0 to 2, got 3"):
            scan.read(ReadSettings(frame=3))
    for path in (messy / "none.nii", messy / "text.nii", messy / "notes.txt"):
        with pytest.raises(ScanReadError, match=path.name):
            ScanFile.of_file(path).read(ReadSettings(frame=3))


def test_folders_of_b_scans_are_scans_when_asked(tmp_path):
    rng = np.random.default_rng(0)
    for eye in ("left", "right"):
        (tmp_path / eye).mkdir()
        for number in range(12):
            pixels = rng.integers(0, 255, (6, 8), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / eye / f"{number}.png")
    Image.fromarray(np.zeros((5, 5), np.uint8)).save(tmp_path / "single.png")
    assert len(discover_scans(tmp_path).scans) == 25
    stacks = discover_scans(tmp_path, ReadSettings(stack_folders=True)).scans
    assert {scan.name: scan.shape for scan in stacks} == {
        "left": (12, 6, 8), "right": (12, 6, 8), "single": (5, 5)
    }  # fmt: skip
    left = next(scan for scan in stacks if scan.name == "left")
    assert [path.stem for path in left.images] == [str(i) for i in range(12)]
    assert left.read().geometry.shape == (12, 6, 8)


def test_a_stack_is_called_as_what_is_written_of_it(tmp_path):
    folder = tmp_path / "eye.of.anna"
    folder.mkdir()
    for name, n_rows in (("1", 6), ("2", 6), ("other_1", 7), ("other_2", 7)):
        pixels = np.random.default_rng(n_rows).integers(0, 255, (n_rows, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{name}.png")
    scans = discover_scans(folder, ReadSettings(stack_folders=True)).scans
    assert [scan.name for scan in scans] == ["eye.of.anna_6x8", "eye.of.anna_7x8"]
    assert [scan.read().name for scan in scans] == ["eye.of.anna_6x8", "eye.of.anna_7x8"]


def test_slices_of_a_folder_are_pictures_and_no_other_2d_image(tmp_path):
    """2D NRRD and MetaImage were put into a stack that then could not be read."""
    sitk = pytest.importorskip("SimpleITK")
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8), dtype=np.uint8)
    for name in ("a.mha", "b.mha", "c.nrrd"):
        sitk.WriteImage(sitk.GetImageFromArray(pixels), tmp_path / name)
    for name in ("1.png", "2.png"):
        Image.fromarray(pixels).save(tmp_path / name)
    scans = discover_scans(tmp_path, ReadSettings(stack_folders=True)).scans
    assert {scan.name: scan.read().geometry.shape for scan in scans} == {
        tmp_path.name: (2, 6, 8), "a": (6, 8), "b": (6, 8), "c": (6, 8)
    }  # fmt: skip


def test_no_reason_tells_a_patient_tag(archive):
    found = discover_scans(archive)
    told = " ".join([item.reason for item in found.skipped] + [scan.name for scan in found.scans])
    assert not [value for value in PATIENT_TAGS.values() if len(value) > 1 and value in told]


@pytest.mark.skipif(os.name != "posix", reason="names of more than the system takes can be made")
def test_what_lies_deeper_than_a_path_may_be_long_holds_up_no_other(tmp_path, monkeypatch):
    """Backups of backups; a disk that fails, and a folder that may be listed but not entered, raise there too."""
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "z.png")
    monkeypatch.chdir(tmp_path)
    for _ in range(20):
        Path("d" * 250).mkdir()
        os.chdir("d" * 250)
    monkeypatch.chdir(tmp_path)
    found = discover_scans(tmp_path)
    assert [scan.path.name for scan in found.scans] == ["z.png"]
    (skipped,) = found.skipped
    assert "File name too long" in skipped.reason
    assert not skipped.is_scan
    shutil.rmtree(tmp_path / ("d" * 250))


def test_folders_within_folders_without_end_are_left(tmp_path):
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "z.png")
    deep = tmp_path.joinpath(*(["d"] * 300))
    deep.mkdir(parents=True)
    found = discover_scans(tmp_path)
    assert [scan.path.name for scan in found.scans] == ["z.png"]
    assert [item.reason for item in found.skipped] == ["more than 200 folders deep"]


@pytest.mark.skipif(not Path("/proc/self/root").exists(), reason="a system without such a folder")
def test_what_the_system_shows_as_files_is_not_looked_into(tmp_path):
    """In ``/proc`` links lead into every process, and by its root to all disks: looking into it took for ever."""
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "z.png")
    (tmp_path / "processes").symlink_to("/proc/self/task")
    found = discover_scans(tmp_path)
    assert [scan.path.name for scan in found.scans] == ["z.png"]
    assert [(item.path.name, item.reason) for item in found.skipped] == [
        ("processes", "a folder of the system, whose files lie on no disk")
    ]
    found = discover_scans("/proc")
    assert (found.scans, [item.path for item in found.skipped]) == ((), [Path("/proc")])


def test_a_file_that_cannot_be_looked_at_is_skipped_as_a_scan_by_its_ending(tmp_path, monkeypatch):
    for name in ("a.png", "b.png", "c.txt"):
        Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / name, "PNG")
    own = Path.is_dir

    def is_dir(self):
        if self.name in ("b.png", "c.txt"):
            raise PermissionError(13, "Permission denied")
        return own(self)

    monkeypatch.setattr(Path, "is_dir", is_dir)
    found = discover_scans(tmp_path)
    assert [scan.path.name for scan in found.scans] == ["a.png"]
    told = {item.path.name: (item.reason, item.is_scan) for item in found.skipped}
    reason = "cannot be looked at (Permission denied)"
    assert told == {"b.png": (reason, True), "c.txt": (reason, False)}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes that are files")
@pytest.mark.parametrize(
    "name", ["pipe", "pipe.png", "pipe.nii.gz", "pipe.nii", "pipe.dcm", "pipe.nrrd", "pipe.tif"]
)
def test_pipes_and_devices_are_never_opened(tmp_path, name):
    """Opening a pipe that nobody writes to waits for ever."""
    Image.fromarray(np.eye(8, dtype=np.uint8)).save(tmp_path / "z.png")
    os.mkfifo(tmp_path / name)
    (tmp_path / f"zeros_{name}").symlink_to("/dev/zero")
    found = discover_scans(tmp_path)
    assert [scan.path.name for scan in found.scans] == ["z.png"]
    told = [(item.path.name, item.reason, item.is_scan) for item in found.skipped]
    reason = "a pipe, a socket or a device"
    assert told == [(name, reason, name != "pipe"), (f"zeros_{name}", reason, name != "pipe")]
    for path in (tmp_path / name, tmp_path / f"zeros_{name}"):
        with pytest.raises(ScanReadError, match="found a pipe, a socket or a device"):
            read_volume(path)

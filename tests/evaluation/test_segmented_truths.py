"""DICOM segmentations as truth: whose they are, and where they lie."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom.uid import DigitalXRayImageStorageForPresentation, generate_uid

from dicom_files import AXIAL, ct_values, image_dataset, save_all
from napari_dinoad.errors import DinoadError, ScanReadError
from napari_dinoad.evaluation.benchmark import evaluate_dataset
from napari_dinoad.evaluation.datasets import find_dataset
from napari_dinoad.evaluation.truths import read_truth, truth_notes
from napari_dinoad.images.dicom.segmentations import unlike_scan
from napari_dinoad.images.readers import read_volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom import seg as dicom_seg
from napari_dinoad.settings import EvaluationSettings
from segmentation_files import needed_tags, save_seg, sources

CORONAL_OBLIQUE = (0.96, 0.28, 0.0, 0.0, 0.0, -1.0)


def frames_of(*places):
    frames = np.zeros((8, 10, 12), np.uint8)
    for place in places:
        frames[place] = 1
    return frames


LESION = frames_of(np.s_[2:4, 3:6, 4:7])


def expected_truth(volume, datasets, frames):
    """Where the values of marked pixels are: each voxel of a scan has its own."""
    marked = [datasets[z].pixel_array[y, x] for z, y, x in np.argwhere(frames)]
    return np.isin(volume.values, marked)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
@pytest.mark.parametrize("orientation", [AXIAL, CORONAL_OBLIQUE])
@pytest.mark.parametrize(
    "frames",
    [
        LESION,
        frames_of((0, 0, 0)),
        frames_of((7, 9, 11)),
        frames_of((1, 2, 3), (6, 2, 3)),
        frames_of(np.s_[:]),
    ],
    ids=["lesion", "first", "last", "far apart", "all"],
)
def test_it_lies_where_it_was_drawn(tmp_path, kind, orientation, frames):
    datasets = sources(orientation=orientation)
    save_all(datasets, tmp_path / "scan")
    volume = read_volume(tmp_path / "scan")
    truth = read_truth(save_seg(tmp_path / "seg.dcm", datasets, frames, kind), volume)
    np.testing.assert_array_equal(truth, expected_truth(volume, datasets, frames))


def test_a_slice_thinner_than_the_gaps(tmp_path):
    """Of one marked slice the file tells no distance to the next."""
    datasets = sources(SliceThickness=0.7)
    save_all(datasets, tmp_path / "scan")
    volume = read_volume(tmp_path / "scan")
    frames = frames_of(np.s_[5, 3:6, 4:7])
    truth = read_truth(save_seg(tmp_path / "seg.dcm", datasets, frames), volume)
    np.testing.assert_array_equal(truth, expected_truth(volume, datasets, frames))


@pytest.mark.parametrize("places", [(1, 5), (1, 3, 5), (0, 3, 6)])
def test_every_other_slice(tmp_path, places):
    """Only the frames tell a distance then, and it is not that of the scan's slices."""
    datasets = sources(SliceThickness=0.7)
    save_all(datasets, tmp_path / "scan")
    volume = read_volume(tmp_path / "scan")
    frames = frames_of(*((z, 3 + z, 4) for z in places))
    dataset = pydicom.dcmread(save_seg(tmp_path / "seg.dcm", datasets, frames))
    (measures,) = dataset.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    del measures.SpacingBetweenSlices
    dataset.save_as(tmp_path / "seg.dcm")
    truth = read_truth(tmp_path / "seg.dcm", volume)
    np.testing.assert_array_equal(truth, expected_truth(volume, datasets, frames))


def test_segments_that_overlap_are_one_truth(tmp_path):
    datasets = sources()
    save_all(datasets, tmp_path / "scan")
    volume = read_volume(tmp_path / "scan")
    frames = np.zeros((8, 10, 12, 3), np.uint8)
    frames[2, 3:6, 4:7, 0] = 1
    frames[2:4, 4:8, 4:9, 1] = 1
    frames[6, 0, 0, 2] = 1
    truth = read_truth(save_seg(tmp_path / "seg.dcm", datasets, frames, n=3), volume)
    np.testing.assert_array_equal(truth, expected_truth(volume, datasets, frames.any(axis=-1)))


def test_of_a_scan_that_was_converted_to_nifti(tmp_path):
    datasets = sources(orientation=CORONAL_OBLIQUE)
    save_all(datasets, tmp_path / "scan")
    source = read_volume(tmp_path / "scan")
    image = nib.Nifti1Image(source.geometry.to_stored(source.values), source.geometry.affine)
    nib.save(image, tmp_path / "scan.nii.gz")
    volume = read_volume(tmp_path / "scan.nii.gz")
    truth = read_truth(save_seg(tmp_path / "seg.dcm", datasets, LESION), volume)
    np.testing.assert_array_equal(truth, expected_truth(volume, datasets, LESION))


def test_of_an_x_ray(tmp_path):
    dataset = image_dataset(
        ct_values(1)[0].astype(np.uint16),
        sop_class=DigitalXRayImageStorageForPresentation,
        SeriesInstanceUID=generate_uid(),
        **needed_tags(),
    )
    dataset.save_as(tmp_path / "x.dcm", enforce_file_format=True)
    frames = np.zeros((1, 10, 12), np.uint8)
    frames[0, 2, 9] = 1
    truth = read_truth(save_seg(tmp_path / "seg.dcm", [dataset], frames), read_volume(tmp_path / "x.dcm"))
    np.testing.assert_array_equal(np.argwhere(truth), [[0, 2, 9]])


def test_one_of_another_series_or_grid_is_refused(tmp_path):
    datasets = sources()
    save_all(datasets, tmp_path / "scan")
    volume = read_volume(tmp_path / "scan")
    others = sources()
    other = save_seg(tmp_path / "other.dcm", others, LESION)
    with pytest.raises(ScanReadError, match="drawn on another series") as refused:
        read_truth(other, volume)
    assert datasets[0].SeriesInstanceUID[-8:] in str(refused.value)
    assert others[0].SeriesInstanceUID[-8:] in str(refused.value)
    assert "Secret" not in str(refused.value)

    def as_of_the_scan(name, datasets, frames=LESION):
        dataset = pydicom.dcmread(save_seg(tmp_path / name, datasets, frames))
        dataset.ReferencedSeriesSequence[0].SeriesInstanceUID = volume_uid
        del dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence
        dataset.save_as(tmp_path / name)
        return tmp_path / name

    volume_uid = datasets[0].SeriesInstanceUID
    for name, changed in {
        "wider.dcm": sources(spacing=(0.6, 0.6)),
        "twice as wide.dcm": sources(spacing=(1.0, 1.0)),
        "half.dcm": sources(origin=(-3.25, -4.0, 5.0)),
        "turned.dcm": sources(orientation=(0.98, 0.199, 0.0, -0.199, 0.98, 0.0)),
        "turned a little.dcm": sources(orientation=(0.99939, 0.0349, 0.0, -0.0349, 0.99939, 0.0)),
    }.items():
        with pytest.raises(ScanReadError, match=f"{name}: the segmentation lies on another grid"):
            read_truth(as_of_the_scan(name, changed), volume)
    for height in (-95.0, 3.0 - 2 * 2.0, 105.0):
        shifted = sources(origin=(-3.0, -4.0, height))
        with pytest.raises(ScanReadError, match="reaches beyond its scan"):
            read_truth(as_of_the_scan("shifted.dcm", shifted), volume)
    assert read_truth(as_of_the_scan("same.dcm", sources()), volume).sum() == LESION.sum()


def test_one_of_another_patient_or_place_is_refused(tmp_path):
    """It was taken for this scan's where the grids agree and it names this series, or none."""
    datasets = sources()
    save_all(datasets, tmp_path / "scan")
    volume = read_volume(tmp_path / "scan")
    path = save_seg(tmp_path / "seg.dcm", datasets, LESION)

    def changed(**tags):
        dataset = pydicom.dcmread(path)
        for keyword, value in tags.items():
            setattr(dataset, keyword, value)
        dataset.save_as(tmp_path / "changed.dcm")
        return tmp_path / "changed.dcm"

    other = pydicom.dcmread(save_seg(tmp_path / "other.dcm", sources(), LESION))
    other.PatientID = "SECRET-2"
    other.save_as(tmp_path / "other.dcm")
    assert unlike_scan(tmp_path / "other.dcm", volume.dicom_files) == "person"
    with pytest.raises(ScanReadError, match=r"other\.dcm: .* is of another patient \(PatientID\)") as refused:
        read_truth(tmp_path / "other.dcm", volume)
    assert "SECRET" not in str(refused.value)
    other.ReferencedSeriesSequence[0].SeriesInstanceUID = datasets[0].SeriesInstanceUID
    other.save_as(tmp_path / "other.dcm")
    assert unlike_scan(tmp_path / "other.dcm", volume.dicom_files) == "person", (
        "its series, but none of its images"
    )
    del other.ReferencedSeriesSequence[0].ReferencedInstanceSequence, other.SourceImageSequence
    for frame in other.PerFrameFunctionalGroupsSequence:
        del frame.DerivationImageSequence
    other.save_as(tmp_path / "other.dcm")
    assert unlike_scan(tmp_path / "other.dcm", volume.dicom_files) == "person", (
        "its series, and no image at all"
    )
    assert read_truth(changed(PatientID=""), volume).sum() == LESION.sum(), "it does not say whose it is"

    path = save_seg(tmp_path / "seg.dcm", sources(), LESION)
    no_series = {
        "ReferencedSeriesSequence": [],
        "PerFrameFunctionalGroupsSequence": [],
        "SourceImageSequence": [],
    }
    with pytest.raises(ScanReadError, match="lies in another one"):
        read_truth(changed(**no_series), volume)
    same = changed(**no_series, FrameOfReferenceUID=datasets[0].FrameOfReferenceUID)
    assert unlike_scan(same, volume.dicom_files) is None


def test_one_of_the_very_images_is_taken_with_another_patient_id_and_told(tmp_path):
    """The window showed it, with a warning, and `dinoad evaluate` refused it."""
    datasets = sources()
    save_all(datasets, tmp_path / "scan")
    volume = read_volume(tmp_path / "scan")
    path = save_seg(tmp_path / "seg.dcm", datasets, LESION)
    truth = read_truth(path, volume)
    assert truth_notes(path, truth, volume) == ()
    segmentation = pydicom.dcmread(path)
    segmentation.PatientID = "SECRET-2"
    segmentation.save_as(path)
    assert unlike_scan(path, volume.dicom_files) == "identifier"
    assert np.array_equal(read_truth(path, volume), truth)
    (note,) = truth_notes(path, truth, volume)
    assert "another PatientID" in note and "SECRET" not in note


def test_one_that_names_images_without_their_series_belongs_to_these(tmp_path):
    datasets = sources()
    save_all(datasets, tmp_path / "scan")
    volume = read_volume(tmp_path / "scan")
    for drawn_on, unlike in ((datasets, None), (sources(), "place")):
        dataset = pydicom.dcmread(save_seg(tmp_path / "seg.dcm", drawn_on, LESION))
        del dataset.ReferencedSeriesSequence
        dataset.save_as(tmp_path / "seg.dcm")
        assert unlike_scan(tmp_path / "seg.dcm", volume.dicom_files) == unlike


def test_dicom_of_another_kind_is_no_mask(tmp_path):
    save_all(sources(), tmp_path / "scan")
    (other,) = save_all(sources()[:1], tmp_path / "mask")
    volume = read_volume(tmp_path / "scan")
    for path in (other, other.parent):
        with pytest.raises(ScanReadError, match="found DICOM of another kind"):
            read_truth(path, volume)


def lay_out(folder, name, *, seg=None, **tags):
    """Write a patient's series under names that say nothing, and perhaps its segmentation."""
    datasets = sources(**tags)
    save_all(datasets, folder / name)
    if seg is not None:
        seg.parent.mkdir(parents=True, exist_ok=True)
        save_seg(seg, datasets, LESION)
    return datasets


@pytest.mark.parametrize("seg", ["{name}/0815", "{name}/seg.dcm", "truth/{name}.dcm", "exports/{number}.dcm"])
def test_a_segmentation_belongs_to_the_series_that_it_names(tmp_path, seg):
    for number, name in enumerate(("patients/p1", "patients/p2", "patients/p3")):
        # Named after the next patient, if after any.
        lay_out(tmp_path, name, seg=tmp_path / seg.format(name=name, number=(number + 1) % 3))
    lay_out(tmp_path, "normal/n")
    found = find_dataset(tmp_path)
    assert [scan.path.name for scan in found.test] == ["n", "p1", "p2", "p3"]
    assert [scan.mask is None for scan in found.test] == [True, False, False, False]
    assert (found.unmatched, found.unused) == ((), ())
    figures = evaluate_dataset(found, lambda volume: volume.values, EvaluationSettings())
    assert not figures.failed
    assert (figures.values["n_test"], figures.values["n_test_abnormal"]) == (4, 3)
    assert figures.values["abnormal_share"] == pytest.approx(3 * LESION.sum() / (4 * LESION.size))


def test_figures_tell_series_of_one_folder_apart(tmp_path):
    """Of both the path of the folder was told alone."""
    for number, name in enumerate("ab", start=1):
        datasets = sources(SeriesNumber=number)
        for place, dataset in enumerate(datasets):
            (tmp_path / "test").mkdir(exist_ok=True)
            dataset.save_as(tmp_path / "test" / f"{name}{place}.dcm", enforce_file_format=True)
        save_seg(tmp_path / f"{name}.dcm", datasets, LESION)
    figures = evaluate_dataset(find_dataset(tmp_path), lambda volume: volume.values, EvaluationSettings())
    assert {(scan["scan"], scan["name"]) for scan in figures.scans} == {
        (str(tmp_path / "test"), "test_series1"),
        (str(tmp_path / "test"), "test_series2"),
    }


def test_other_series_of_a_patient_with_a_tumour_are_not_normal(tmp_path):
    study = generate_uid()
    lay_out(tmp_path, "p/T1", seg=tmp_path / "p/seg.dcm", StudyInstanceUID=study)
    lay_out(tmp_path, "p/T2", StudyInstanceUID=study)
    lay_out(tmp_path, "q/T1")
    found = find_dataset(tmp_path)
    assert [scan.path.relative_to(tmp_path).as_posix() for scan in found.test] == ["p/T1", "q/T1"]
    ((path, reason),) = [(item.path, item.reason) for item in found.unused]
    assert path == tmp_path / "p/T2"
    assert "of a study another series of which has one" in reason


@pytest.mark.parametrize(
    ("places", "mask"),
    [
        (("{}/002", "{}/003"), "{}/mask.nii.gz"),
        (("{}/study/T1", "{}/study/FLAIR"), "{}/lesion_mask.nii.gz"),
        (("{0}/{0}_T1", "{0}/{0}_FLAIR"), "{0}/{0}_seg.nii.gz"),
        (("{}", "{}"), "{}_mask.nii.gz"),
        (("dicom/{}", "dicom/{}"), "masks/{}.nii.gz"),
    ],
)
def test_one_mask_in_nifti_of_several_series_is_that_of_the_chosen_one(tmp_path, places, mask):
    """As ITK-SNAP saves it beside a study: it was that of none, and the series was a normal scan."""
    for person in ("p1", "p2"):
        for number, place in enumerate(places):
            tags = {"SeriesNumber": number, "SeriesDescription": ("T1", "FLAIR")[number]}
            save_all(sources(**tags), tmp_path / place.format(person), np.random.default_rng(number))
        path = tmp_path / mask.format(person)
        path.parent.mkdir(exist_ok=True)
        path.touch()
    with pytest.raises(DinoadError, match=r"choose one with --series: (T1, FLAIR|FLAIR, T1)\."):
        find_dataset(tmp_path)
    found = find_dataset(tmp_path, series="flair")
    assert [(one.series.series.description, one.mask) for one in found.test] == [
        ("FLAIR", tmp_path / mask.format(person)) for person in ("p1", "p2")
    ]
    assert not found.unmatched


def test_a_series_that_is_wanted_is_not_normal_where_another_of_its_study_was_segmented(tmp_path):
    study = generate_uid()
    lay_out(tmp_path, "p/t1", StudyInstanceUID=study, SeriesDescription="T1")
    lay_out(tmp_path, "p/t2", seg=tmp_path / "p/seg.dcm", StudyInstanceUID=study, SeriesDescription="T2")
    lay_out(tmp_path, "q/t1", seg=tmp_path / "q/seg.dcm", SeriesDescription="T1")
    lay_out(tmp_path, "r/t1", SeriesDescription="T1")
    found = find_dataset(tmp_path, series="T1")
    assert [scan.path.relative_to(tmp_path).as_posix() for scan in found.test] == ["q/t1", "r/t1"]
    reasons = {item.path.relative_to(tmp_path).as_posix(): item.reason for item in found.unused}
    assert "of a study another series of which has one" in reasons["p/t1"]
    assert reasons["p/t2"] == "not the series chosen"


def test_splits_and_masks_of_other_formats(tmp_path):
    lay_out(tmp_path, "train/a")
    lay_out(tmp_path, "test/p1", seg=tmp_path / "segmentations/p1.dcm")
    volume = read_volume(tmp_path / "test/p1")
    lay_out(tmp_path, "test/p2")
    (tmp_path / "test/label").mkdir()
    mask = np.zeros(volume.geometry.shape, np.uint8)
    nib.save(nib.Nifti1Image(mask, volume.geometry.affine), tmp_path / "test/label/p2.nii.gz")
    found = find_dataset(tmp_path)
    assert found.layout == "bmad"
    assert {scan.path.name: scan.mask.name for scan in found.test} == {"p1": "p1.dcm", "p2": "p2.nii.gz"}
    assert [(item.path.name, item.reason) for item in found.unused] == [("a", "in the training split")]
    assert found.unmatched == ()


def test_a_segmentation_that_scoring_left_beside_the_series_is_no_truth(tmp_path):
    lay_out(tmp_path, "p1", seg=tmp_path / "p1" / "truth.dcm")
    volume = read_volume(tmp_path / "p1")
    mask = AnomalyMap((volume.values > 9).astype(np.float32) * 4, volume).mask(0.01)
    dicom_seg.save_seg(tmp_path / "p1" / "p1_seg.dcm", mask)
    found = find_dataset(tmp_path)
    assert [(scan.path.name, scan.mask and scan.mask.name) for scan in found.test] == [("p1", "truth.dcm")]
    assert [(item.path.name, item.reason) for item in found.unused] == [
        ("p1_seg.dcm", "a mask that napari-dinoad found, not the truth")
    ]


def test_two_masks_of_one_series_and_damaged_files_are_told(tmp_path):
    datasets = lay_out(tmp_path, "p1", seg=tmp_path / "seg/reader1.dcm")
    save_seg(tmp_path / "seg/reader2.dcm", datasets, LESION)
    lay_out(tmp_path, "p2", seg=tmp_path / "seg/p2.dcm")
    (tmp_path / "p3").mkdir()
    (tmp_path / "p3/x.dcm").write_bytes(b"no DICOM")
    found = find_dataset(tmp_path)
    figures = evaluate_dataset(found, lambda volume: volume.values, EvaluationSettings())
    reasons = {path.name: reason for path, reason in figures.failed}
    assert set(reasons) == {"p1", "x.dcm"}
    assert "reader1.dcm" in reasons["p1"]
    assert "reader2.dcm" in reasons["p1"]
    assert "not a readable DICOM" in reasons["x.dcm"]
    assert figures.values["n_test"] == 1


def test_a_segmentation_whose_series_is_not_there_is_no_other_ones(tmp_path):
    lay_out(tmp_path, "p1", seg=tmp_path / "seg/p1.dcm")
    lay_out(tmp_path, "p2", seg=tmp_path / "seg/p2.dcm")
    gone = tmp_path / "gone"
    (tmp_path / "p2").rename(gone)
    for path in list(gone.iterdir()):
        path.unlink()
    gone.rmdir()
    found = find_dataset(tmp_path)
    assert found.unmatched == (tmp_path / "seg/p2.dcm",)
    lay_out(tmp_path, "p2")
    figures = evaluate_dataset(find_dataset(tmp_path), lambda volume: volume.values, EvaluationSettings())
    ((path, reason),) = figures.failed
    assert path == tmp_path / "p2"
    assert "drawn on another series" in reason


def test_what_is_no_scan_is_told(tmp_path):
    lay_out(tmp_path, "p1", seg=tmp_path / "p1/seg.dcm")
    report = image_dataset(ct_values(1)[0], SeriesInstanceUID=generate_uid())
    for tag in ("Rows", "Columns", "PixelData"):
        delattr(report, tag)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.481.3"
    report.save_as(tmp_path / "p1/rtstruct.dcm", enforce_file_format=True)
    ((path, reason),) = [(item.path, item.reason) for item in find_dataset(tmp_path).unused]
    assert path == tmp_path / "p1/rtstruct.dcm"
    assert "RT Structure Set" in reason
    Path(tmp_path / "p1/seg.dcm").unlink()
    with pytest.raises(DinoadError, match="DICOM series with their segmentations, found 1 scans"):
        find_dataset(tmp_path)

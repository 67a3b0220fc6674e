"""UIDs of several patients, or of no image in particular, as some de-identifiers leave them."""

import numpy as np
import pytest
from pydicom.uid import UltrasoundMultiFrameImageStorage, generate_uid

from dicom_files import as_one_series, ct_values, image_dataset, save_all, series_datasets, set_pixels
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume

UIDS = ("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SOPInstanceUID")


def with_uids_of(datasets, others, *keywords):
    for dataset, other in zip(datasets, others, strict=True):
        for keyword in keywords:
            setattr(dataset, keyword, other[keyword].value)
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    return datasets


def same_values(volume, values):
    stored = volume.geometry.to_stored(volume.values).transpose(2, 1, 0)
    return any(np.array_equal(stored, order) for order in (values, values[::-1]))


def test_series_of_two_studies_with_one_uid_are_not_mixed(tmp_path):
    """Slices of one between those of the other make an even stack."""
    first, second = ct_values(seed=0), ct_values(seed=1)
    a, b = series_datasets(first), series_datasets(second, origin=(-3, -4, 6))
    save_all(a, tmp_path / "a")
    save_all(with_uids_of(b, a, "SeriesInstanceUID", "FrameOfReferenceUID"), tmp_path / "b")
    with pytest.raises(ScanReadError, match=r"2 series; .*have the same UID: give the folder"):
        read_volume(tmp_path)
    assert same_values(read_volume(tmp_path / "a"), first)
    assert len(discover_scans(tmp_path).scans) == 2


def test_patients_of_the_very_same_uids_are_no_copies_of_each_other(tmp_path):
    first, second = ct_values(seed=0), ct_values(seed=1)
    a, b = series_datasets(first), series_datasets(second)
    save_all(a, tmp_path / "a")
    save_all(with_uids_of(b, a, *UIDS), tmp_path / "b")
    with pytest.raises(ScanReadError, match="2 series"):
        read_volume(tmp_path)
    found = discover_scans(tmp_path)
    assert found.skipped == ()
    assert [scan.path.name for scan in found.scans] == ["a", "b"]
    for scan, values in zip(found.scans, (first, second), strict=True):
        assert same_values(scan.read(), values)


@pytest.mark.parametrize("folders", ["ab", "aa"])
def test_patients_whose_images_are_of_one_series_are_not_mixed(tmp_path, folders):
    """Slices of one between those of the other make an even stack, of two persons."""
    first, second = ct_values(seed=0), ct_values(seed=1)
    a = series_datasets(first)
    b = as_one_series([a[0], *series_datasets(second, origin=(-3, -4, 6), PatientID="ID-2-SECRET")])[1:]
    paths = []
    for datasets, folder, name in zip((a, b), folders, "mn", strict=True):
        for number, dataset in enumerate(datasets):
            paths.append(tmp_path / folder / f"{name}{number}.dcm")
            paths[-1].parent.mkdir(exist_ok=True)
            dataset.save_as(paths[-1], enforce_file_format=True)
    copy = tmp_path / "copy_of_b.dcm"
    copy.write_bytes(paths[-1].read_bytes())
    with pytest.raises(
        ScanReadError, match=r"2 series; .*several patients .* give the folder \(or file\)"
    ) as told:
        read_volume(tmp_path)
    assert "SECRET" not in str(told.value)
    assert same_values(read_volume(paths[0]), first)
    assert same_values(read_volume(paths[-1]), second)
    scans = discover_scans(tmp_path).scans
    assert [len(scan.series.copies) for scan in scans if same_values(scan.read(), second)] == [1]
    assert len({scan.name for scan in scans}) == 2
    assert all(any(same_values(scan.read(), values) for scan in scans) for values in (first, second))


def test_a_series_whose_every_image_has_another_patient_id_stays_one(tmp_path):
    """De-identifiers that draw a new number for each file, but not for the series."""
    datasets = series_datasets(ct_values())
    for number, dataset in enumerate(datasets):
        dataset.PatientID = f"anonymous-{number}"
    save_all(datasets, tmp_path)
    assert same_values(read_volume(tmp_path), ct_values())


def test_images_that_all_have_one_uid_are_all_read(tmp_path):
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    save_all(datasets, tmp_path)
    volume = read_volume(tmp_path)
    assert same_values(volume, ct_values())
    assert volume.notes == ()


def test_films_of_one_uid_stay_apart(tmp_path):
    films = []
    for seed in range(2):
        pixels = np.random.default_rng(seed).integers(0, 255, (3, 8, 9), dtype=np.uint8)
        one = image_dataset(
            pixels[0], sop_class=UltrasoundMultiFrameImageStorage, Modality="US", SeriesInstanceUID="1.2"
        )
        set_pixels(one, pixels)
        one.NumberOfFrames = 3
        films.append(one)
    save_all(with_uids_of(films, [films[0]] * 2, "StudyInstanceUID", "SOPInstanceUID"), tmp_path)
    found = discover_scans(tmp_path)
    assert [scan.shape for scan in found.scans] == [(3, 8, 9)] * 2
    assert found.skipped == ()
    assert len({scan.read().values.tobytes() for scan in found.scans}) == 2


def test_copies_in_another_folder_are_still_copies(tmp_path):
    datasets = series_datasets(ct_values())
    save_all(datasets, tmp_path / "a")
    save_all(datasets, tmp_path / "b")
    assert same_values(read_volume(tmp_path), ct_values())
    assert len(discover_scans(tmp_path).skipped) == 6


def test_images_of_a_series_without_a_place_are_told_as_that(tmp_path):
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        del dataset.ImagePositionPatient
    save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError, match=r"6 images of one series without position.* make no volume"):
        read_volume(tmp_path)


def test_hidden_files_beside_a_named_file_are_passed_over(tmp_path):
    """macOS lays ``._NAME`` beside files that it copies to other disks."""
    paths = save_all(as_one_series(series_datasets(ct_values())), tmp_path)
    for path in paths:
        (tmp_path / f"._{path.name}.dcm").write_bytes(b"\x00\x05\x16\x07" + b"\0" * 200)
    assert read_volume(paths[0]).notes == ()


def test_a_series_whose_every_image_is_of_another_study_stays_one(tmp_path):
    """De-identifiers that draw a new UID for each file, but not for the series."""
    datasets = series_datasets(ct_values())
    for dataset in datasets:
        dataset.StudyInstanceUID = generate_uid()
    paths = save_all(datasets, tmp_path)
    assert same_values(read_volume(tmp_path), ct_values())
    assert same_values(read_volume(paths[3]), ct_values())


def without_series(datasets, *, is_blank=False):
    for dataset in datasets:
        if is_blank:
            dataset.SeriesInstanceUID = ""
        else:
            del dataset.SeriesInstanceUID
    return datasets


@pytest.mark.parametrize("is_blank", [False, True], ids=["missing", "blank"])
def test_images_that_name_no_series_are_one_of_their_folder(tmp_path, is_blank):
    values = ct_values()
    paths = save_all(without_series(series_datasets(values), is_blank=is_blank), tmp_path)
    for path in (tmp_path, paths[0]):
        volume = read_volume(path)
        assert same_values(volume, values)
        (note,) = [note for note in volume.notes if "names no series" in note]
        assert "folder, study, series number and description were taken for one" in note
    (scan,) = discover_scans(tmp_path).scans
    assert same_values(scan.read(), values)


def test_one_image_that_names_no_series_is_read(tmp_path):
    """It was refused."""
    values = ct_values(n=1)
    (path,) = save_all(without_series(series_datasets(values)), tmp_path)
    volume = read_volume(path)
    np.testing.assert_array_equal(volume.geometry.to_stored(volume.values), values[0].T)
    assert any("names no series" in note for note in volume.notes)


@pytest.mark.parametrize(
    "tags", [{"SeriesNumber": 4}, {"SeriesDescription": "T2"}, {"StudyInstanceUID": "1.2.3"}]
)
def test_what_names_no_series_is_not_mixed(tmp_path, tags):
    """Slices of one between those of the other make an even stack."""
    first, second = ct_values(seed=0), ct_values(seed=1)
    others = series_datasets(second, origin=(-3, -4, 6), **tags)
    save_all(without_series([*series_datasets(first), *others]), tmp_path)
    with pytest.raises(ScanReadError, match="2 series"):
        read_volume(tmp_path)
    assert len(discover_scans(tmp_path).scans) == 2


def test_an_image_that_names_no_series_beside_one_may_be_its_slice(tmp_path):
    datasets = series_datasets(ct_values(n=6))
    without_series(datasets[-1:])
    paths = save_all(datasets, tmp_path)
    (scan,) = discover_scans(tmp_path).scans
    assert len(scan.series.files) == 5
    assert "names no series" in scan.series.told_unreadable
    (skipped,) = discover_scans(tmp_path).skipped
    assert skipped.path == paths[-1]
    assert "Put it into a folder of its own" in skipped.reason


def test_radiographs_that_name_no_series_are_a_scan_each(tmp_path):
    datasets = [image_dataset(ct_values(n=1, seed=seed)[0], Modality="DX") for seed in range(3)]
    for number, dataset in enumerate(datasets):
        assert "SeriesInstanceUID" not in dataset
        dataset.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
    scans = discover_scans(tmp_path).scans
    assert [scan.kind for scan in scans] == ["image"] * 3
    assert scans[0].read().notes == read_volume(tmp_path / "0.dcm").notes
    assert not any("names no series" in note for note in scans[0].read().notes), "nothing to mix up"


def test_a_picture_that_names_no_series_either_sets_no_slices_aside(tmp_path):
    values = ct_values()
    save_all(without_series(series_datasets(values)), tmp_path)
    picture = image_dataset(ct_values(n=1)[0], Modality="OT")
    assert "SeriesInstanceUID" not in picture
    picture.save_as(tmp_path / "picture.dcm", enforce_file_format=True)
    found = discover_scans(tmp_path)
    assert [scan.shape for scan in found.scans if scan.kind == "volume"] == [values.shape[::-1]]
    assert not found.skipped


@pytest.mark.parametrize("tag", ["StudyInstanceUID", "PatientID"])
def test_single_images_of_several_persons_that_name_no_series_are_a_scan_each(tmp_path, tag):
    """They were put together: one study, or patient, for each image of a series is what de-identifiers leave."""
    images = []
    for number in range(3):
        (image,) = without_series(series_datasets(ct_values(n=1, seed=number), origin=(-3, -4, 2 * number)))
        image.StudyInstanceUID, image.PatientID = "1.2.3", "one"
        setattr(image, tag, f"1.2.3.{number}")
        del image.FrameOfReferenceUID
        images.append(image)
    save_all(images, tmp_path)
    assert [len(scan.series.files) for scan in discover_scans(tmp_path).scans] == [1, 1, 1]

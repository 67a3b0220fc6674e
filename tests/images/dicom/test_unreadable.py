"""Files of a series that cannot be read: slices may be missing, at its ends without leaving a hole, so it is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom.uid import generate_uid

from dicom_files import PATIENT_TAGS, ct_values, enhanced_dataset, image_dataset, save_all, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.settings import ReadSettings

MISSING = "Slices may be missing, at the ends too: files beside this series could not be read"


@pytest.fixture
def series(tmp_path):
    """Return the paths of a series of six slices, in order."""
    return save_all(series_datasets(ct_values()), tmp_path / "head")


def end_of(data, group, element):
    """Return where a tag (explicit little endian, short form) begins."""
    return data.rindex(group.to_bytes(2, "little") + element.to_bytes(2, "little"))


def cut_to_the_preamble(data):
    return data[:300]


def cut_before_the_image(data):
    return data[: end_of(data, 0x0028, 0x0010)]  # Rows


def cut_before_the_pixel_spacing(data):
    return data[: end_of(data, 0x0028, 0x0030)]


def with_half_a_number(data):
    where = end_of(data, 0x0028, 0x0010) + 6  # the length of Rows
    return data[:where] + b"\x03" + data[where + 1 : where + 4] + b"\x00" + data[where + 4 :]


def emptied(data):
    return b""


def zeroed(data):
    return bytes(len(data))


def all_ways(path):
    """Return the volume of a series as each way of reading it gives it."""
    scans = [
        scan for scan in discover_scans(path.parent).scans if scan.series and scan.series.frames[0].is_placed
    ]
    return [read_volume(path), *(scan.read() for scan in scans)]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut_to_the_preamble, "2 × a DICOM file that is damaged or cut short"),
        (cut_before_the_image, "2 × a DICOM file that is damaged or cut short"),
        (cut_before_the_pixel_spacing, "2 × an image without position, orientation or pixel spacing"),
        (with_half_a_number, "2 × not a readable DICOM file (BytesLengthException)"),
        (emptied, "2 × not a readable DICOM file"),
        (zeroed, "2 × not a readable DICOM file"),
    ],
)
def test_damaged_ends_of_a_series_are_told(series, damage, reason):
    for path in series[-2:]:
        path.write_bytes(damage(path.read_bytes()))
    volumes = all_ways(series[0])
    assert len(volumes) == 2
    for volume in volumes:
        assert volume.geometry.shape == (12, 10, 4)
        (note,) = volume.notes
        assert note.startswith(MISSING)
        assert reason in note
        assert not [
            text for text in (*PATIENT_TAGS.values(), str(series[0].parent)) if len(text) > 1 and text in note
        ]


def test_damaged_ends_are_told_of_a_folder(series):
    series[-1].write_bytes(series[-1].read_bytes()[:300])
    series[0].write_bytes(b"")
    (note,) = read_volume(series[1].parent).notes
    assert "1 × a DICOM file that is damaged or cut short" in note
    assert "1 × not a readable DICOM file (InvalidDicomError)" in note


@pytest.fixture
def locked(series, monkeypatch):
    """Return the paths of a series whose last file may not be opened."""
    opened = Path.open

    def refuse(path, *args, **kwargs):
        if path == series[-1]:
            raise PermissionError(13, "Permission denied", str(path))
        return opened(path, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    return series


def test_a_file_that_cannot_be_opened_is_told_as_that(locked):
    for volume in all_ways(locked[0]):
        assert volume.geometry.shape == (12, 10, 5)
        assert volume.notes == (f"{MISSING} (1 × cannot be opened (Permission denied)).",)
    (skipped,) = discover_scans(locked[0].parent).skipped
    assert skipped.reason == "cannot be opened (Permission denied)."
    with pytest.raises(ScanReadError, match=r"cannot be opened \(Permission denied\)"):
        read_volume(locked[-1])


def test_a_folder_of_nothing_readable_says_why(locked):
    for path in locked[:-1]:
        path.unlink()
    with pytest.raises(ScanReadError, match=r"found none: 1 × cannot be opened \(Permission denied\)"):
        read_volume(locked[-1].parent)


def test_what_cannot_be_opened_beside_pictures_does_not_make_them_dicom(locked):
    for path in locked[:-1]:
        path.unlink()
    for number in range(2):
        Image.fromarray(np.full((6, 7), number, np.uint8)).save(locked[-1].parent / f"{number}.png")
    assert read_volume(locked[-1].parent).values.shape == (2, 6, 7)


def test_a_series_of_which_nothing_can_be_read_is_a_scan_that_cannot_be_used(tmp_path, series):
    lost = tmp_path / "lost"
    lost.mkdir()
    for path in series:
        (lost / path.name).write_bytes(path.read_bytes()[:300])
    (lost / "DONE").write_text("")
    series[-1].write_bytes(series[-1].read_bytes()[:300])
    unusable = {item.path for item in discover_scans(tmp_path).skipped if item.is_scan}
    assert unusable == {lost / path.name for path in series}, (
        "what the notes of a series tell is no scan of its own"
    )


def test_a_hole_that_a_damaged_file_leaves_is_explained(series):
    series[2].write_bytes(series[2].read_bytes()[:300])
    with pytest.raises(
        ScanReadError, match=rf"1 missing slices.*{MISSING} \(1 × a DICOM file that is damaged"
    ):
        read_volume(series[0])
    assert MISSING in read_volume(series[0], resample=True).notes[0]


def test_what_is_no_image_is_no_missing_slice(series):
    folder = series[0].parent
    report = image_dataset(
        ct_values(n=1)[0], sop_class="1.2.840.10008.5.1.4.1.1.88.11", SeriesInstanceUID="1.4"
    )
    private = image_dataset(ct_values(n=1)[0], sop_class="1.3.12.2.1107.5.9.1", SeriesInstanceUID="1.5")
    for dataset in (report, private):
        for tag in ("Rows", "Columns", "PixelData"):
            delattr(dataset, tag)
    for number, dataset in enumerate((report, private)):
        dataset.save_as(folder / f"not-{number}", enforce_file_format=True)
    (folder / "README").write_text("Series of the head")
    (folder / "DONE.txt").write_text("")
    assert [volume.notes for volume in all_ways(series[0])] == [(), ()]


def test_files_elsewhere_and_other_kinds_of_series_are_left_alone(tmp_path, series):
    other = save_all([enhanced_dataset(ct_values(n=3))], tmp_path / "enhanced")[0]
    shutil.copy(series[0], other.parent / "cut.dcm")
    (other.parent / "cut.dcm").write_bytes(series[0].read_bytes()[:300])
    notes = [scan.read().notes for scan in discover_scans(tmp_path).scans]
    assert notes == [(), ()], "the cut file lies beside a file that holds all its slices"


def test_the_index_of_a_medium_is_known_by_its_meta_header(tmp_path, series):
    index = image_dataset(ct_values(n=1)[0], SeriesInstanceUID=generate_uid())
    index.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    for tag in ("SOPClassUID", "Rows", "Columns", "PixelData"):
        delattr(index, tag)
    index.preamble = bytes(128)
    index.save_as(series[0].parent / "DICOMDIR", enforce_file_format=False)
    (skipped,) = discover_scans(tmp_path).skipped
    assert skipped.reason == "DICOM, but an index of a medium (DICOMDIR), not a scan."
    assert read_volume(series[0]).notes == ()


def test_unreadable_images_of_a_stack_are_told(tmp_path):
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 255, (6, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:20])
    (scan,) = discover_scans(tmp_path, ReadSettings(stack_folders=True)).scans
    volume = scan.read()
    assert volume.values.shape == (3, 6, 8)
    assert volume.notes[-1] == "Slices may be missing: 1 × an image of this folder that could not be read."


def test_empty_files_that_archives_leave_beside_slices_are_none(series):
    """Slices have numbers in their names."""
    for name in ("LOCKFILE", "VERSION", "Thumbs"):
        (series[0].parent / name).touch()
    assert all(volume.notes == () for volume in all_ways(series[0]))
    (series[0].parent / "IM0007").touch()
    assert all(
        volume.notes == (f"{MISSING} (1 × not a readable DICOM file (InvalidDicomError)).",)
        for volume in all_ways(series[0])
    )

"""What is repeated of source images' headers: names in every script, and nothing that is against the standard."""

from __future__ import annotations

import logging
import threading

import numpy as np
import pydicom
import pytest
from pydicom.uid import generate_uid

from dicom_files import ct_values, save_all, series_datasets
from napari_dinoad.errors import SettingError
from napari_dinoad.images.readers import read_volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom.colour_slices import save_dicom_slices
from napari_dinoad.maps.dicom.discretion import discreet, unheard
from napari_dinoad.maps.dicom.parametric_map import build_dicom_map, save_dicom_map
from napari_dinoad.maps.dicom.seg import save_seg

STUDY = {"StudyInstanceUID": generate_uid()}


def written_objects(folder, **tags):
    """Return all DICOM objects made of a series with these tags, read again."""
    save_all(series_datasets(ct_values(), **STUDY, **tags), folder / "ct")
    return objects_of(folder / "ct", folder)


def objects_of(series, folder):
    """Return all DICOM objects made of the series in a folder, read again."""
    volume = read_volume(series)
    mask = AnomalyMap(np.full(volume.values.shape, 3, np.float32), volume).mask(0.01)
    save_seg(folder / "seg.dcm", mask)
    save_dicom_map(folder / "map.dcm", mask.anomaly_map)
    slices = save_dicom_slices(folder / "slices", mask)
    return [pydicom.dcmread(path) for path in (folder / "seg.dcm", folder / "map.dcm", *slices.iterdir())]


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎"),
        (["ISO 2022 IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        ("ISO 2022 IR 100", "Müller^Jörg"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("ISO_IR 192", "王^小东"),
        ("GB18030", "王^小东"),
        ("", "Smith^John"),
    ],
)
def test_names_are_repeated_in_every_script(tmp_path, character_set, name):
    for written in written_objects(tmp_path, SpecificCharacterSet=character_set, PatientName=name):
        assert str(written.PatientName) == name


def test_of_several_names_the_first_is_repeated(tmp_path):
    for written in written_objects(tmp_path, PatientName=["Smith^John", "Doe^Jane"]):
        assert str(written.PatientName) == "Smith^John"


def test_a_thickness_that_is_no_number_is_the_distance_of_the_slices(tmp_path):
    for path in save_all(series_datasets(ct_values(), SliceThickness="9.5"), tmp_path / "ct"):
        path.write_bytes(path.read_bytes().replace(b"9.5 ", b"9,5 "))
    volume = read_volume(tmp_path / "ct")
    made = build_dicom_map(AnomalyMap(np.ones(volume.values.shape, np.float32), volume))
    (measures,) = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert measures.SliceThickness == 2.0


def test_the_distance_of_slices_is_that_of_their_places(tmp_path):
    """Some scanners name the gap that they leave between slices."""
    save_all(
        series_datasets(ct_values(), gap=7.0, SliceThickness="5", SpacingBetweenSlices="2"), tmp_path / "ct"
    )
    volume = read_volume(tmp_path / "ct")
    made = build_dicom_map(AnomalyMap(np.ones(volume.values.shape, np.float32), volume))
    (measures,) = made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    assert (measures.SliceThickness, measures.SpacingBetweenSlices) == (5, 7)


@pytest.mark.parametrize(("told", "number"), [("AB1 ", 0), ("    ", 0), ("-3  ", -3), ("7531", 7531)])
def test_a_number_of_the_series_that_is_none_is_0(tmp_path, caplog, told, number):
    """Slices were a fault of ours, the other objects refused; and the log quoted it."""
    for path in save_all(series_datasets(ct_values(), SeriesNumber="7531", **STUDY), tmp_path / "ct"):
        # With its VR and length: the same digits may be in any UID.
        content, before = path.read_bytes(), b"IS\x04\x007531"
        assert content.count(before) == 1
        path.write_bytes(content.replace(before, before[:-4] + told.encode()))
    numbers = [made.SeriesNumber for made in objects_of(tmp_path / "ct", tmp_path)]
    assert numbers == [number + 1000, number + 2000, *[number + 3000] * 6]
    assert not caplog.text


@pytest.mark.parametrize("kind", [ValueError, KeyError, TypeError])
def test_errors_that_may_quote_a_header_are_told_by_their_kind(kind):
    with pytest.raises(SettingError, match=f"Thing: .* \\({kind.__name__}\\). Do else.") as told:
        with discreet("Thing", "Do else"):
            raise kind("Secret^Patient")
    assert "Secret" not in str(told.value) and told.value.__cause__ is None


def test_what_pydicom_says_to_other_threads_is_heard(caplog):
    logger, spoken = logging.getLogger("pydicom"), []
    with unheard():
        other = threading.Thread(target=lambda: (logger.warning("there"), spoken.append(True)))
        other.start()
        other.join()
        with unheard():
            logger.warning("here")
        logger.warning("here still")
    logger.warning("after")
    assert spoken and [record.message for record in caplog.records] == ["there", "after"]


def test_a_header_that_was_deidentified_in_an_unknown_way_says_so(tmp_path):
    tags = {"PatientIdentityRemoved": "YES", "DeidentificationMethod": ""}
    seg, parametric_map, *_ = written_objects(tmp_path, **tags)
    for written in (seg, parametric_map):
        assert written.PatientIdentityRemoved == "YES"
        assert written.DeidentificationMethod == "not told by the source images"

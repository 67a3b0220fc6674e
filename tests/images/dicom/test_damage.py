"""Damaged files: every fault is told in one line that quotes nothing of the header."""

from __future__ import annotations

import traceback

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from dicom_files import PATIENT_TAGS, ct_values, enhanced_dataset, save_all, series_datasets
from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom import headers
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume

SECRETS = [value for value in PATIENT_TAGS.values() if len(value) > 1]


def damaged(whole, rng):
    """Return a file with some bytes changed, or cut short."""
    data = bytearray(whole)
    if rng.random() < 0.3:
        return bytes(data[: rng.integers(140, len(data))])
    for where in rng.integers(132, len(data), rng.integers(1, 4)):
        data[where] = rng.integers(0, 256)
    return bytes(data)


@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's own, about what it could mend
@pytest.mark.parametrize("kind", ["classic", "enhanced"])
def test_damaged_files_are_refused_or_read_and_never_quoted(tmp_path, kind, caplog):
    caplog.set_level("DEBUG")
    values = ct_values(n=3, rows=4, columns=4)
    datasets = [enhanced_dataset(values)] if kind == "enhanced" else series_datasets(values)
    path = save_all(datasets, tmp_path)[0]
    whole = path.read_bytes()
    rng = np.random.default_rng(3)
    told = []
    for _ in range(60):
        path.write_bytes(damaged(whole, rng))
        told += [item.reason for item in discover_scans(tmp_path).skipped]
        try:
            told += read_volume(path).notes
        except ScanReadError as error:
            told += traceback.format_exception(error)  # what a log of the whole chain would hold
    assert len(told) > 20
    text = " ".join(told) + caplog.text
    assert not [secret for secret in SECRETS if secret in text]


def test_a_length_that_swallows_other_tags_is_not_shown(tmp_path):
    """A damaged length makes one value hold the next tags, the patient's name among them."""
    datasets = series_datasets(ct_values(n=3, rows=4, columns=4))
    path = save_all(datasets, tmp_path)[1]
    whole = path.read_bytes()
    where = whole.index(b"\x08\x00\x16\x00UI") + 6  # the length of SOPClassUID, within the data set
    path.write_bytes(whole[:where] + b"\x00\x02" + whole[where + 2 :])
    with pytest.raises(ScanReadError) as refused:
        read_volume(path)
    assert not [secret for secret in SECRETS if secret in str(refused.value)]
    assert "Export it again" in str(refused.value)


def test_more_frames_than_a_file_has_bytes_are_not_looked_through(tmp_path, monkeypatch):
    """A file of a kilobyte that claims 65535 frames took 20 s, and as long for each slice."""
    datasets = series_datasets(ct_values(n=2, rows=4, columns=4))
    datasets[0].NumberOfFrames = 65535
    (path, _) = save_all(datasets, tmp_path)
    looked = []
    monkeypatch.setattr(headers, "Lookup", lambda *_: looked.append(_) or pytest.fail("looked through"))
    with pytest.raises(ScanReadError, match="damaged header values"):
        read_volume(path)
    assert not looked


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("value", [b"1\\2 ", b"nan "])
def test_a_distance_of_slices_that_is_none_is_told(tmp_path, value):
    """highdicom puts it into a table of its own, whose errors ended in a traceback."""
    datasets = series_datasets(ct_values(n=3, rows=4, columns=4))
    for dataset in datasets:
        tag = Tag("SpacingBetweenSlices")
        dataset[tag] = RawDataElement(tag, "DS", len(value), value, 0, False, True)
    save_all(datasets, tmp_path)
    with pytest.raises(ScanReadError, match="are damaged or cut short"):
        read_volume(tmp_path)

"""DICOM files that lack the preamble by which DICOM is known."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_files import ct_values, save_all, series_datasets
from napari_dinoad.images.discovery import discover_scans
from napari_dinoad.images.readers import read_volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.maps.dicom.seg import save_seg


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("has_meta", [False, True])
def test_files_without_preamble_are_read_whatever_their_name(tmp_path, syntax, has_meta):
    """Exports of old scanners and archives begin with the first element at once."""
    values = ct_values()
    folder = tmp_path / "ct"
    folder.mkdir()
    for number, dataset in enumerate(series_datasets(values)):
        dataset.file_meta.TransferSyntaxUID = syntax
        if syntax == ExplicitVRBigEndian:
            dataset.PixelData = values[number].astype(">i2").tobytes()
            dataset["PixelData"].VR = "OW"
        if not has_meta:
            del dataset.file_meta
        is_little, is_implicit = syntax != ExplicitVRBigEndian, syntax == ImplicitVRLittleEndian
        path = folder / f"image{number}"
        pydicom.dcmwrite(path, dataset, implicit_vr=is_implicit, little_endian=is_little)
        assert path.read_bytes()[128:132] != b"DICM"
    (folder / "notes").write_bytes(b"\x08\x00 no DICOM, though it begins so")
    (scan,) = discover_scans(tmp_path).scans
    for volume in (scan.read(), read_volume(folder), read_volume(folder / "image3")):
        assert volume.notes == ()
        np.testing.assert_array_equal(np.sort(volume.values.ravel()), np.sort(values.ravel()))
        np.testing.assert_array_equal(volume.values[2, -1, -1], values[2, 0, 0])
    save_seg(tmp_path / "seg.dcm", AnomalyMap(volume.values, volume).mask(0.01))
    assert pydicom.dcmread(tmp_path / "seg.dcm").NumberOfFrames == len(values)


def test_no_warning_quotes_a_value_of_the_header(tmp_path, recwarn):
    paths = save_all(series_datasets(ct_values(), SpecificCharacterSet="ISO_IR 192"), tmp_path)
    for path in paths:  # a character set that pydicom does not know
        content = path.read_bytes()
        assert content.count(b"ISO_IR 192") == 1
        path.write_bytes(content.replace(b"ISO_IR 192", b"ISO IR 192"))
    discover_scans(tmp_path)
    read_volume(tmp_path)
    assert [str(warning.message) for warning in recwarn if "ISO IR" in str(warning.message)] == []

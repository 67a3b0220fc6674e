"""Which scans are read ahead: small ones whose header says so, after small ones."""

from __future__ import annotations

from functools import partial

import nibabel as nib
import numpy as np

from napari_dinoad.images import scans_ahead
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.machine.read_ahead import ReadAhead
from napari_dinoad.settings import ReadSettings


def ahead_of(scans, reading=None):
    with ReadAhead() as reader:
        loads = ((scan, partial(str, scan.name)) for scan in scans)
        return list(scans_ahead.scans_ahead(reader, loads, reading or ReadSettings()))


def test_scans_are_judged_by_their_headers(tmp_path, monkeypatch):
    monkeypatch.setattr(scans_ahead, "MOST_VOXELS", 1000)
    for name, n in (("a", 10), ("b", 10), ("large", 11), ("after", 10), ("c", 10)):
        image = nib.Nifti1Image(np.zeros((10, 10, n), np.uint8), np.eye(4))
        nib.save(image, tmp_path / f"{name}.nii.gz")
    scans = [ScanFile.of_file(tmp_path / f"{name}.nii.gz") for name in ("a", "b", "large", "after", "c")]
    assert ahead_of(scans) == [None, "b", None, None, "c"]


def test_the_size_of_one_frame_counts(tmp_path, monkeypatch):
    monkeypatch.setattr(scans_ahead, "MOST_VOXELS", 1000)
    nib.save(nib.Nifti1Image(np.zeros((10, 10, 10, 5), np.uint8), np.eye(4)), tmp_path / "series.nii.gz")
    series = ScanFile.of_file(tmp_path / "series.nii.gz")
    assert ahead_of([series, series], ReadSettings(frame=2)) == [None, "series"]


def test_what_is_known_is_not_looked_at_and_what_cannot_be_is_left_to_its_turn(tmp_path):
    known = [ScanFile(tmp_path / "none.nii.gz", "volume", (4, 4, 4), name=name) for name in "abc"]
    assert ahead_of(known) == [None, "b", "c"]
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"no scan")
    assert (
        ahead_of([known[0], ScanFile.of_file(damaged), ScanFile.of_file(tmp_path / "gone.png")]) == [None] * 3
    )

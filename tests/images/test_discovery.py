"""A folder with everything that goes wrong: each file appears once, with its reason."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.discovery import discover_scans


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


def test_headers_are_told(messy):
    scans = {scan.path.name: scan for scan in discover_scans(messy).scans}
    assert scans["a.nii"].kind == "volume"
    assert scans["a.nii"].shape == (4, 5, 6)
    assert scans["a.nii"].spacing_mm == (1, 2, 3)
    assert scans["x.PNG"].kind == "image"
    assert scans["x.PNG"].shape == (7, 9)


def test_what_is_no_folder_is_refused(tmp_path):
    with pytest.raises(ScanReadError, match="expected a folder"):
        discover_scans(tmp_path / "none")

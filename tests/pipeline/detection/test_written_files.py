"""Which files of an earlier result of a scan are removed."""

from __future__ import annotations

import pytest

from napari_dinoad.pipeline.detection.written_files import WrittenFiles


@pytest.mark.parametrize("found", ["the same", "another"])
def test_what_was_written_anew_is_no_file_of_before(tmp_path, found):
    """On disks that keep times in whole seconds it may look as it did then."""
    (tmp_path / "scan_mask.nii.gz").write_bytes(b"mask")
    (tmp_path / "scan_anomaly.nii.gz").write_bytes(b"map")
    files = WrittenFiles(tmp_path)
    before = files.listed({"map": "scan_anomaly.nii.gz", "mask": "scan_mask.nii.gz"})
    now = files.listed({"mask": "scan_mask.nii.gz"})
    beside, removed = files.of_before("scan", {"found": "the same", "written": before}, found, now)
    assert (tmp_path / "scan_mask.nii.gz").read_bytes() == b"mask"
    if found == "the same":
        assert [name for name, _, _ in beside] == ["scan_anomaly.nii.gz"]
        assert removed == []
    else:
        assert beside == []
        assert removed == ["scan_anomaly.nii.gz"]
        assert not (tmp_path / "scan_anomaly.nii.gz").exists()


def test_a_folder_of_results_may_be_reached_by_a_link(tmp_path):
    there, folder = tmp_path / "there", tmp_path / "folder"
    there.mkdir()
    try:
        folder.symlink_to(there, target_is_directory=True)
    except OSError:
        pytest.skip("links cannot be made here")
    (there / "scan_mask.nii.gz").write_bytes(b"mask")
    files = WrittenFiles(folder)
    before = files.listed({"mask": "scan_mask.nii.gz"})
    assert files.of_before("scan", {"found": "a", "written": before}, "b", []) == ([], ["scan_mask.nii.gz"])
    assert not (there / "scan_mask.nii.gz").exists()

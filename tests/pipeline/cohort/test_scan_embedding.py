"""What tells a scan from another before it is embedded: all that is in its files."""

from __future__ import annotations

import numpy as np
import pytest

from detached_headers import save_with_voxels_apart
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.pipeline.cohort.scan_embedding import scan_sha256
from napari_dinoad.settings import ReadSettings


@pytest.mark.parametrize("suffix", [".mhd", ".mha", ".nhdr", ".nrrd"])
def test_scans_of_one_header_are_told_by_the_voxels_that_it_names(tmp_path, suffix):
    """The second of two such patients was left out as a copy of the first, and results of other voxels kept."""
    pytest.importorskip("SimpleITK")
    hashes = []
    for name, offset in (("anna", 0), ("berta", 1), ("anna again", 0)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / f"ct{suffix}"
        save_with_voxels_apart(path, np.arange(24) + offset)
        hashes.append(scan_sha256(ScanFile.of_file(path), ReadSettings()))
    assert hashes[0] == hashes[2] != hashes[1]

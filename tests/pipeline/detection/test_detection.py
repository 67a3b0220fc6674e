"""What was found in a scan, as it is handed on to be written."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.calibration import NormalPeaks
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.maps import AnomalyMap
from napari_dinoad.pipeline.detection.detection import Detection
from napari_dinoad.settings import DetectSettings


@pytest.fixture
def detection():
    """Return a detection on 1 mm voxels: 4 beyond 0.1 %, and a single one beyond 5 %."""
    values = np.zeros((3, 4, 5), np.float32)
    values[1, 1, :4] = 3.5
    values[2, 3, 4] = 1.5
    volume = Volume(np.zeros_like(values), Geometry((5, 4, 3), np.eye(4)), "scan")
    return Detection(
        AnomalyMap(values, volume),
        scan_score=0.7,
        p_value=0.04,
        n_calibration_scans=50,
        n_calibration_persons=40,
        n_more_normal=48,
        slices=(0, 1, 2),
        planes=("axial",),
        seconds={"total": 1.5},
        unlike=("It is thick.",),
        settings=DetectSettings(fpr=0.05, min_volume_mm3=2.0),
        is_whole=False,
        normal_peaks=NormalPeaks(np.array([1.0]), np.array([1.0])),
    )


def test_the_mask_is_that_of_its_settings_where_nothing_else_is_asked_for(detection):
    n_voxels = {
        (None, None): 4,
        (None, 0.0): 5,
        (0.01, None): 4,
        (0.05, 0.5): 5,
        (1e-4, None): 0,
        (None, 9.0): 0,
    }
    for (fpr, min_volume_mm3), expected in n_voxels.items():
        mask = detection.mask(fpr, min_volume_mm3)
        assert np.count_nonzero(mask.values) == expected
        assert mask.fpr == (fpr or 0.05)


def test_what_is_written_has_all_figures_at_their_place(detection):
    mask, card = detection.mask(), {"scorer": "dpmm"}
    findings = detection.findings(mask, "scan.nii.gz", card)
    assert findings.mask is mask
    assert (findings.scan, findings.card, findings.notes) == ("scan.nii.gz", card, detection.unlike)
    for name in (
        "p_value",
        "n_calibration_scans",
        "n_calibration_persons",
        "n_more_normal",
        "seconds",
        "is_whole",
        "normal_peaks",
    ):
        assert getattr(findings, name) == getattr(detection, name), name
    assert detection.findings(mask, "scan.nii.gz").card is None

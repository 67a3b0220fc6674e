"""What kind of scans a folder holds, guessed from a few of them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
import pytest

from napari_dinoad.gui.fit.samples_of_folder import THUMBNAIL_PX, SampleJob, guess_preset
from napari_dinoad.gui.work.worker import JobChannel
from napari_dinoad.images.discovery import discover_scans

if TYPE_CHECKING:
    from pathlib import Path


def save(path: Path, values: np.ndarray, spacing: float) -> None:
    nib.save(nib.Nifti1Image(values.astype(np.int16), np.diag([spacing, spacing, 5.0, 1.0])), path)


def head(background: float) -> np.ndarray:
    values = np.full((60, 70, 12), background)
    values[10:50, 10:60, 1:11] = 40
    return values


def look_at(folder):
    discovery, samples = discover_scans(folder), []
    SampleJob(discovery)(JobChannel(lambda event: None, samples.append))
    return discovery, samples


@pytest.mark.parametrize(
    ("background", "spacing", "lung", "preset"),
    [
        (0, 4.0, False, "mr-brain"),
        (-1000, 3.5, False, "ct-head"),
        (-1000, 6.0, True, "ct-chest"),
        (-1000, 6.0, False, "ct-abdomen"),
    ],
)
def test_volumes(tmp_path, background, spacing, lung, preset):
    values = head(background)
    if lung:
        values[15:45, 15:55, 2:10] = -800
    for name in "ab":
        save(tmp_path / f"{name}.nii.gz", values, spacing)
    discovery, samples = look_at(tmp_path)
    assert len(samples) == 2
    assert max(samples[0].picture.shape) == THUMBNAIL_PX
    assert samples[0].picture.max() > samples[0].picture.min()
    assert "60 × 70 × 12" in samples[0].words
    guessed, why = guess_preset(discovery, samples)
    assert guessed == preset
    assert why
    if preset == "ct-head":
        assert guess_preset(discovery, [replace(samples[0], modality="OPT")])[0] == "oct"


def test_a_scan_that_cannot_be_read_is_left_out(tmp_path):
    save(tmp_path / "good.nii.gz", head(0), 4.0)
    save(tmp_path / "zero.nii.gz", np.zeros((8, 8, 8)), 4.0)
    _, samples = look_at(tmp_path)
    assert [sample.name for sample in samples] == ["good"]

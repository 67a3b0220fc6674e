"""Pictures of some scans of a folder, and what these say about their kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import nibabel as nib
import numpy as np
from PIL import Image

from napari_dinoad.gui.fit.cohort_view import CohortView
from napari_dinoad.gui.fit.samples_of_folder import THUMBNAIL_PX, SampleJob
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


def test_a_picture_and_a_look(tmp_path):
    for name in "ab":
        save(tmp_path / f"{name}.nii.gz", head(-1000), 3.5)
    _, samples = look_at(tmp_path)
    assert len(samples) == 2
    assert max(samples[0].picture.shape) == THUMBNAIL_PX
    assert samples[0].picture.max() > samples[0].picture.min()
    assert "60 × 70 × 12" in samples[0].words
    assert samples[0].look.is_ct
    assert samples[0].look.field_mm == 70 * 3.5


def test_a_picture_in_colour_is_shown_in_its_colours(qtbot, tmp_path):
    colours = np.full((60, 90, 3), (200, 30, 40), np.uint8)
    colours[:, 30:] = (20, 160, 90)
    Image.fromarray(colours).save(tmp_path / "a.png")
    _, (sample,) = look_at(tmp_path)
    assert sample.look.is_coloured
    view = CohortView()
    qtbot.addWidget(view)
    view.thumbnails.show_samples([sample])
    shown = view.thumbnails.labels[0].pixmap().toImage()
    assert (shown.width(), shown.height()) == (THUMBNAIL_PX, round(THUMBNAIL_PX * 60 / 90))
    assert shown.pixelColor(5, 40).getRgb()[:3] == (200, 30, 40)
    assert shown.pixelColor(70, 5).getRgb()[:3] == (20, 160, 90)


def test_a_scan_that_cannot_be_read_is_left_out(tmp_path):
    save(tmp_path / "good.nii.gz", head(0), 4.0)
    save(tmp_path / "zero.nii.gz", np.zeros((8, 8, 8)), 4.0)
    _, samples = look_at(tmp_path)
    assert [sample.name for sample in samples] == ["good"]

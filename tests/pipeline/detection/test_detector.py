"""Several scans by one detector."""

from __future__ import annotations

from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from napari_dinoad import Detector, NormativeModel, fit_folder
from napari_dinoad.images.readers import read_volume
from napari_dinoad.images.volume import Geometry, Volume
from napari_dinoad.pipeline.detection import detector as detector_module
from small_fits import SMALL_FIT

TURNED = np.array([[1, -1], [2, 1], [0, -1]])
"""Axes of an array and their directions; see `nibabel.orientations`."""


@pytest.fixture
def head(normal_folder):
    return read_volume(sorted(normal_folder.iterdir())[0])


def test_a_scan_that_was_prepared_apart_is_compared_with_the_normal_ones_itself(detector, head):
    middle = len(head.values) // 2
    picture = Volume(head.values[middle : middle + 1], Geometry.of_pixels(head.values.shape[1:]), "picture")
    for scan in (head, picture, head):
        found = detector.detect(scan, slices=[0], prepared=detector.prepare_apart(scan))
        assert any("single slice" in words for words in found.unlike) == (scan is picture)


def test_a_scan_behind_the_model_is_told_whatever_its_name_and_axes(normal_folder, patient_path, tmp_path):
    """Its map looks better than a new scan's, which nothing said of models of `ar-cnn` and `memory-bank`, too."""
    model = fit_folder(normal_folder, replace(SMALL_FIT, scorer="memory-bank"))
    detector = Detector(NormativeModel.load(model.save(tmp_path / "m.dinoad")))
    turned = nib.load(sorted(normal_folder.glob("*.nii.gz"))[0]).as_reoriented(TURNED)
    nib.save(turned, tmp_path / "new_name.nii")
    seen = read_volume(tmp_path / "new_name.nii")
    patient = read_volume(patient_path)
    assert detector.has_seen(seen) and not detector.has_seen(patient)
    assert [words.startswith("It is one of the normal") for words in detector.unlike(seen)] == [True]
    assert detector.unlike(patient) == ()
    assert not Detector(replace(model, fingerprints=())).has_seen(seen), "as files had none at first"


def test_a_scan_that_was_prepared_apart_is_not_prepared_again(detector, head, monkeypatch):
    def refuse(*_):
        raise AssertionError("prepared again")

    prepared = detector.prepare_apart(head)
    monkeypatch.setattr(detector_module, "prepare_planes", refuse)
    events = []
    found = detector.detect(head, slices=[8, 9], progress=events.append, prepared=prepared)
    assert np.flatnonzero(found.anomaly_map.values.any(axis=(1, 2))).tolist() == [8, 9]
    assert (events[0].done, events[-1].done, events[-1].total) == (0, 2, 2)
    assert {event.detail for event in events} == {""}, "of one plane none is named"

"""What the package shows to those who use it as a library: words of its objects, settings and messages."""

from __future__ import annotations

import dataclasses
import inspect
import re

import numpy as np
import pytest
import torch

import napari_dinoad
from napari_dinoad import (
    ArCnnScorer,
    Detector,
    DetectSettings,
    DpmmScorer,
    DpmmSettings,
    FitSettings,
    Geometry,
    MemoryBankScorer,
    MemoryBankSettings,
    Volume,
    fit_folder,
    preset,
    read_volume,
)
from napari_dinoad.backbones import PatchEmbeddings
from napari_dinoad.calibration import Calibration, ScanScores, scan_score
from napari_dinoad.errors import GeometryError, ScorerError, SettingError
from napari_dinoad.evaluation import auroc
from napari_dinoad.pipeline.detection import detector as detection
from napari_dinoad.scoring import make_scorer

CLASSES = [
    thing
    for thing in map(napari_dinoad.__getattribute__, napari_dinoad.__all__)
    if dataclasses.is_dataclass(thing)
]
MAPS = torch.randn(4, 5, 6, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def model(normal_folder):
    settings = FitSettings(
        scorer="memory-bank",
        preprocessing=preset("mr-brain"),
        resolution_px=96,
        memory_bank=MemoryBankSettings(n_patches=200),
    )
    return fit_folder(normal_folder, settings)


def test_what_objects_say_of_themselves_is_short(model, patient_path):
    volume, detector = read_volume(patient_path), Detector(model)
    found = detector.detect(volume)
    bank = make_scorer(MemoryBankSettings(n_patches=30)).fit([MAPS])
    words = {
        repr(volume): "<Volume 'patient': (z, y, x) (16, 40, 30), 8 × 5 × 5 mm>",
        repr(model): "<NormativeModel: memory-bank on embedded, mr-brain, axial, 6 scans of 6 persons>",
        repr(model.calibration): "<Calibration (cross): 6 scans of 6 persons, ",
        repr(detector): "<Detector on cpu: <NormativeModel: memory-bank on embedded",
        repr(
            found
        ): "<Detection, slices scored: 12, scan-level p = 0.143, <AnomalyMap of 'patient': (16, 40, 30)",
        repr(found.mask()): "<AnomalyMask of 'patient': ",
        repr(detector.detect(volume, slices=[8])): "slices scored: 1, no p-value of the whole scan",
        repr(PatchEmbeddings(MAPS, 16)): "<PatchEmbeddings (n, gh, gw, d) (4, 5, 6, 8), patches of 16 px>",
        repr(DpmmScorer()): "<DpmmScorer (diag, cosine): not fitted>",
        repr(DpmmScorer(DpmmSettings(n_components=2, merge=False)).fit([MAPS])): "2 components>",
        repr(ArCnnScorer()): "<ArCnnScorer (rings, two-sided): not fitted>",
        repr(MemoryBankScorer()): "<MemoryBankScorer (1 nearest): not fitted>",
        repr(bank): "<MemoryBankScorer (1 nearest): 30 patches>",
    }
    for said, part in words.items():
        assert part in said
        assert len(said) < 200


@pytest.mark.parametrize(
    "package", [napari_dinoad, napari_dinoad.backbones], ids=lambda package: package.__name__
)
def test_completion_offers_what_is_imported_when_first_used(package):
    assert set(package.__all__) <= set(dir(package))


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_field_is_told(kind):
    """Each entry of numpydoc's "Attributes" is a line of names, a colon and a type."""
    told = re.findall(r"^(\w+(?:, \w+)*) : \w|^(\w+(?:, \w+)*)$", inspect.getdoc(kind), re.MULTILINE)
    names = {name for line in told for part in line for name in part.split(", ")}
    assert {field.name for field in dataclasses.fields(kind)} - names == set()


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: FitSettings(preprocessing="mr-brain"), r"preset\('mr-brain'\)"),
        (
            lambda: FitSettings(dpmm={"n_components": 5}),
            r"dpmm: expected DpmmSettings, got .* DpmmSettings\(…\)",
        ),
        (lambda: FitSettings(calibration=None), "calibration: expected CalibrationSettings, got None"),
        (lambda: fit_folder(".", "dpmm"), "settings: expected FitSettings, got 'dpmm'"),
        (lambda: fit_folder(".", cache="work/"), r"cache: expected CacheSettings, got 'work/'"),
        (lambda: fit_folder(".", cluster=4), "cluster: expected ClusterSettings, got 4"),
    ],
)
def test_settings_of_another_kind_are_refused_with_what_to_give(made, told):
    with pytest.raises(SettingError, match=told):
        made()


def test_settings_of_detection_must_be_such(model):
    with pytest.raises(SettingError, match=r"settings: expected DetectSettings, got 0\.01"):
        Detector(model, 0.01)
    assert Detector(model, DetectSettings(fpr=0.1)).settings.fpr == 0.1


def test_what_a_scan_is_unlike_in_is_not_said_of_the_next(model, patient_path, monkeypatch):
    detector, scans = Detector(model), [read_volume(patient_path), read_volume(patient_path)]
    facts = detection.scan_facts

    def meanwhile(prepared):
        if prepared.volume is scans[0]:
            detector.unlike(scans[1])
        return facts(prepared)

    monkeypatch.setattr(detection, "scan_facts", meanwhile)
    monkeypatch.setattr(detection, "darkness_note", lambda scan, _: f"scan {scans.index(scan)}")
    assert detector.unlike(scans[0])[0] == "scan 0"
    assert detector.unlike(scans[1])[0] == "scan 1"


@pytest.mark.parametrize(
    ("values", "got"),
    [([[[1.0]]], "list"), (np.ones((1, 1, 1), bool), "bool"), (np.ones((1, 1, 1), complex), "complex128")],
)
def test_the_values_of_a_volume_are_real_numbers(values, got):
    with pytest.raises(GeometryError, match=f"Volume: expected a NumPy array of real numbers, got {got}"):
        Volume(values, Geometry((1, 1, 1), np.eye(4)))


def test_a_slice_is_a_whole_number(model, patient_path):
    with pytest.raises(TypeError, match="float"):
        Detector(model).detect(read_volume(patient_path), slices=[7.5])


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (MAPS.numpy(), r"got ndarray; make it one with torch\.as_tensor"),
        (MAPS[0], r"got torch\.float32 \(5, 6, 8\); a single batch stands in a list, as fit\(\[batch\]\)"),
        (MAPS.long(), r"got torch\.int64 \(4, 5, 6, 8\); give patch embeddings as the backbone returns them"),
        (PatchEmbeddings(MAPS, 16), r"got PatchEmbeddings; take their \.values"),
    ],
)
def test_what_is_no_batch_of_embeddings_is_told_with_what_to_do(given, told):
    with pytest.raises(ScorerError, match=told):
        make_scorer(MemoryBankSettings()).fit([given])


def test_a_tensor_in_place_of_a_list_of_batches_is_told():
    with pytest.raises(ScorerError, match="a single batch stands in a list"):
        make_scorer(DpmmSettings()).fit(MAPS)


def test_calibration_alone_takes_arrays_of_any_shape():
    normals = np.random.default_rng(0).normal(size=(5, 10, 20, 30))
    calibration = Calibration.from_scans([ScanScores.of(scan, 0.01) for scan in normals])
    flat = Calibration.from_scans([ScanScores.of(scan.ravel(), 0.01) for scan in normals])
    assert calibration.scan_scores.tolist() == flat.scan_scores.tolist()
    assert calibration.neg_log10_p([1.0, 2.0]).tolist() == flat.neg_log10_p(np.array([1.0, 2.0])).tolist()
    assert scan_score(normals[0], 0.01) == scan_score(normals[0].ravel(), 0.01)


@pytest.mark.parametrize("fpr", [0, 1.0, 5, -0.1])
def test_a_threshold_is_of_a_rate(fpr):
    calibration = Calibration.from_scans([ScanScores.of(np.arange(100.0), 0.01)])
    with pytest.raises(
        SettingError, match=r"false-positive rate: expected above 0 and below 1 \(0\.01 is 1 %\)"
    ):
        calibration.threshold(fpr)


def test_the_share_of_a_scans_score_is_a_share():
    with pytest.raises(SettingError, match="top fraction: expected a share above 0, at most 1, got 2"):
        scan_score(np.arange(100.0), 2)


def test_figures_take_lists():
    assert auroc([0.1, 0.2, 0.3], [0, 0, 1]) == 1.0

"""What the package shows to those who use it as a library: words of its objects, settings and messages."""

from __future__ import annotations

import pytest
import torch

from napari_dinoad import (
    ArCnnScorer,
    Detector,
    DpmmScorer,
    DpmmSettings,
    FitSettings,
    MemoryBankScorer,
    MemoryBankSettings,
    fit_folder,
    preset,
    read_volume,
)
from napari_dinoad.backbones import PatchEmbeddings
from napari_dinoad.scoring import make_scorer

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
        ): "<Detection, slices scored: 12, scan-level p = 0.429, <AnomalyMap of 'patient': (16, 40, 30)",
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

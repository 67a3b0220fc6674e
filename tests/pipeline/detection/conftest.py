"""What the tests of scoring share: a detector of a quick model."""

from __future__ import annotations

import pytest

from napari_dinoad.pipeline import Detector, fit_folder
from napari_dinoad.settings import FitSettings, MemoryBankSettings, preset


@pytest.fixture(scope="package")
def detector(normal_folder):
    settings = FitSettings(
        "memory-bank",
        preprocessing=preset("mr-brain"),
        memory_bank=MemoryBankSettings(n_patches=500),
        resolution_px=96,
    )
    return Detector(fit_folder(normal_folder, settings))

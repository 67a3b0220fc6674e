"""Settings with which a small folder of heads is fitted within a second or two."""

from __future__ import annotations

from dataclasses import replace

from napari_dinoad import DpmmSettings, FitSettings, MemoryBankSettings, preset
from napari_dinoad.settings import CalibrationSettings

SMALL_FIT = FitSettings(
    preprocessing=replace(preset("mr-brain"), resolution_px=64),
    calibration=CalibrationSettings(folds=3),
    memory_bank=MemoryBankSettings(n_patches=300, reduction="random"),
    dpmm=DpmmSettings(n_components=10, epochs=2),
)

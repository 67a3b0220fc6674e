"""Settings of the demo, which fits on phantoms: the same in the window and on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.settings.fitting import CalibrationSettings, FitSettings
from napari_dinoad.settings.scorers import ArCnnSettings, DpmmSettings, MemoryBankSettings

if TYPE_CHECKING:
    from napari_dinoad.settings.choices import Device

__all__ = ["DEMO_SCAN_SHAPE", "DEMO_SCORER", "N_DEMO_SCANS", "demo_settings"]

DEMO_SCORER = "ar-cnn"
"""On phantoms a patch's surroundings tell more than its likeness to any normal patch."""

N_DEMO_SCANS = 24
"""Normal phantoms that the demo fits on."""

DEMO_SCAN_SHAPE = (42, 128, 112)
"""(z, y, x) voxels of the demo's phantoms: slices 3.5 mm apart; more heads say more than more slices."""

_RESOLUTION_PX = 448
"""Side of the model input, that of the papers: a patch then covers 8 mm of a phantom."""


def demo_settings(scorer: str = DEMO_SCORER, device: Device = "auto", seed: int = 0) -> FitSettings:
    """Return settings that fit in a minute or two on two cores: one split instead of folds, small scorers."""
    return FitSettings(
        scorer=scorer,
        calibration=CalibrationSettings(method="split", holdout=0.3),
        ar_cnn=ArCnnSettings(hidden_channels=128, batch_maps=8),
        dpmm=DpmmSettings(n_components=200, epochs=15),
        memory_bank=MemoryBankSettings(n_patches=10_000, sample_factor=2),
        device=device,
        seed=seed,
        resolution_px=_RESOLUTION_PX,
    )

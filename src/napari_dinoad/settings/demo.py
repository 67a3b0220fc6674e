"""Settings of the demo, which fits on phantoms: the same in the window and on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.settings.fitting import CalibrationSettings, FitSettings
from napari_dinoad.settings.scorers import ArCnnSettings, DpmmSettings

if TYPE_CHECKING:
    from napari_dinoad.settings.choices import Device

__all__ = ["N_DEMO_SCANS", "demo_settings"]

N_DEMO_SCANS = 10
"""Normal phantoms that the demo fits on."""


def demo_settings(scorer: str = "ar-cnn", device: Device = "auto", seed: int = 0) -> FitSettings:
    """Return settings that fit in a minute or two on two cores: one split instead of folds, a short training."""
    return FitSettings(
        scorer=scorer,
        calibration=CalibrationSettings(method="split", holdout=0.3),
        ar_cnn=ArCnnSettings(hidden_channels=128, batch_maps=16, epochs=20),
        dpmm=DpmmSettings(n_components=200, epochs=15),
        device=device,
        seed=seed,
    )

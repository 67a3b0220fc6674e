"""Scorers: models of normal patch embeddings.

`make_scorer` builds the scorer that goes with a settings object, `scorer_from_state` rebuilds a saved one.
Importing this package loads no torch; the scorers do when they are made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.errors import ModelFileError, SettingError
from napari_dinoad.settings import SCORER_NAMES, ArCnnSettings, DpmmSettings, MemoryBankSettings

if TYPE_CHECKING:
    import torch

    from napari_dinoad.scoring.protocol import Scorer, ScorerState

__all__ = ["SCORER_NAMES", "make_scorer", "scorer_from_state"]


def make_scorer(
    settings: DpmmSettings | ArCnnSettings | MemoryBankSettings, device: str | torch.device = "cpu"
) -> Scorer:
    """Return an unfitted scorer for ``settings``.

    Parameters
    ----------
    settings : DpmmSettings, ArCnnSettings or MemoryBankSettings
        Their type chooses the scorer.
    device : str or torch.device
        Where the scorer computes; embeddings are moved there batch by batch.

    Raises
    ------
    SettingError
        If ``settings`` belongs to no scorer.
    """
    if isinstance(settings, DpmmSettings):
        from napari_dinoad.scoring.dpmm.scorer import DpmmScorer

        return DpmmScorer(settings, device=device)
    if isinstance(settings, ArCnnSettings):
        from napari_dinoad.scoring.ar_cnn.scorer import ArCnnScorer

        return ArCnnScorer(settings, device=device)
    if isinstance(settings, MemoryBankSettings):
        from napari_dinoad.scoring.memory_bank import MemoryBankScorer

        return MemoryBankScorer(settings, device=device)
    raise SettingError(
        f"scorer settings: expected DpmmSettings, ArCnnSettings or MemoryBankSettings, "
        f"got {type(settings).__name__}."
    )


def scorer_from_state(state: ScorerState, device: str | torch.device = "cpu") -> Scorer:
    """Rebuild the scorer whose ``state()`` this is.

    Raises
    ------
    ModelFileError
        If the state names an unknown scorer, or a tensor is missing or has the wrong shape.
    """
    if state.name == "dpmm":
        from napari_dinoad.scoring.dpmm.scorer import DpmmScorer

        return DpmmScorer.from_state(state, device=device)
    if state.name == "ar-cnn":
        from napari_dinoad.scoring.ar_cnn.scorer import ArCnnScorer

        return ArCnnScorer.from_state(state, device=device)
    if state.name == "memory-bank":
        from napari_dinoad.scoring.memory_bank import MemoryBankScorer

        return MemoryBankScorer.from_state(state, device=device)
    raise ModelFileError(
        f"scorer: expected one of {', '.join(SCORER_NAMES)}, got {state.name!r}; "
        "the model was made by another version, so fit it again."
    )

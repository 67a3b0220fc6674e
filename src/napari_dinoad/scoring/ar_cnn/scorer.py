"""The autoregressive CNN scorer (Erdil, Schulthess, Tombak and Konukoglu, arXiv 2603.02974)."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar, Self

import torch
from torch.nn import functional

from napari_dinoad.errors import ScorerError
from napari_dinoad.progress import report
from napari_dinoad.scoring.ar_cnn.training import (
    Census,
    Training,
    squared_errors,
    standardised,
    take_census,
)
from napari_dinoad.scoring.patches import checked_embeddings, require_reiterable
from napari_dinoad.scoring.protocol import ScorerState
from napari_dinoad.scoring.saved_state import require_scorer, saved_settings, saved_tensor, saved_value
from napari_dinoad.settings import ArCnnSettings
from napari_dinoad.settings.checks import require_kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from napari_dinoad.progress import Progress
    from napari_dinoad.scoring.ar_cnn.network import PaperNetwork, RingsNetwork

__all__ = ["ArCnnScorer"]

_MOMENTS = ("step", "exp_avg", "exp_avg_sq")
"""What AdamW remembers of each parameter."""


class ArCnnScorer:
    """How badly a patch is predicted from the patches around it (Erdil et al., 2026, arXiv 2603.02974).

    Unlike the paper's code no patch sees itself, in either mode; the patches that it is predicted from lie as far
    away in the picture at any resolution; and the epoch that predicts held-out *normal* scans best is kept.

    Parameters
    ----------
    settings : ArCnnSettings, optional
        Defaults if left out.
    device : str or torch.device
        Where it computes.
    """

    name: ClassVar[str] = "ar-cnn"

    def __init__(self, settings: ArCnnSettings | None = None, *, device: str | torch.device = "cpu") -> None:
        self.settings = ArCnnSettings() if settings is None else settings
        require_kind("settings", self.settings, ArCnnSettings)
        self.device = torch.device(device)
        self._training: Training | None = None

    def __repr__(self) -> str:
        what = "not fitted" if self._training is None else "fitted"
        return f"<ArCnnScorer ({self.settings.network}, {self.settings.context}): {what}>"

    def _fitted(self) -> Training:
        if self._training is None:
            raise ScorerError("AR-CNN: expected a fitted scorer, got one without a network; call fit first.")
        return self._training

    def fit(
        self,
        batches: Iterable[torch.Tensor],
        *,
        validation: Iterable[torch.Tensor] | None = None,
        progress: Progress | None = None,
        checkpoint: Callable[[ScorerState], None] | None = None,
    ) -> Self:
        """Train on normal embeddings.

        A scorer rebuilt from the state of an unfinished fit continues it, to the same end as if it had never stopped;
        any other starts anew. Where it is stopped by an error or `Cancelled`, the scorer stays as it was.

        Parameters
        ----------
        batches : iterable of torch.Tensor
            Re-iterable; each item is (n, gh, gw, d) float, all of one grid. Where it can be indexed, its batches are
            read in random order.
        validation : iterable of torch.Tensor, optional
            Normal embeddings of held-out scans: the epoch that predicts them best is kept. Without them, the last.
        progress : callable, optional
            Called after each epoch (and each batch of the first look); may raise `Cancelled`.
        checkpoint : callable, optional
            Called with the state after each epoch.

        Raises
        ------
        ScorerError
            If there is nothing to fit on, an embedding is NaN or infinite, or the training diverges.
        """
        require_reiterable(batches)
        if self._training is None or self._training.finished:
            census = take_census(batches, self.settings.standardise, progress)
            training = Training(self.settings, census, self.device)
        else:
            training = copy.deepcopy(self._training)
        while not training.finished:
            training.next_epoch(batches, validation)
            if checkpoint is not None:
                checkpoint(_state_of(self.name, training))
            latest = {name: curve[-1] for name, curve in training.history.items()}
            report(progress, "Training AR-CNN", training.epoch, self.settings.epochs, metrics=latest)
        self._training = training
        return self

    def score(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return anomaly scores (n, gh, gw) float32: the squared prediction error, mean over channels.

        Any grid will do. With ``normalise_positions`` the error is divided by the normal one at that place, resized
        to another grid where needed.

        Parameters
        ----------
        embeddings : torch.Tensor
            (n, gh, gw, d), any floating dtype, d as in the fit.

        Raises
        ------
        ScorerError
            Before `fit`, or if the channels differ from the fit's or a value is NaN or infinite.
        """
        errors = self.prediction_errors(embeddings)
        table = self._fitted().position_errors
        if table is None:
            return errors
        size = errors.shape[1:]
        if table.shape != size:
            table = functional.interpolate(table[None, None], size, mode="bilinear", align_corners=False)[
                0, 0
            ]
        return errors / table

    def prediction_errors(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Return the squared prediction error (n, gh, gw) float32, mean over channels, whatever is usual at a place.

        1 is about the error of predicting the mean of all normal patches, where embeddings are standardised.

        Parameters
        ----------
        embeddings : torch.Tensor
            As of `score`, and so are the errors.
        """
        training = self._fitted()
        maps = checked_embeddings(embeddings, len(training.census.mean), self.device)
        return squared_errors(training.best, standardised(maps, training.census))

    def state(self) -> ScorerState:
        """Return all that `from_state` needs; of an unfinished fit also all that it needs to continue."""
        return _state_of(self.name, self._fitted())

    @classmethod
    def from_state(cls, state: ScorerState, *, device: str | torch.device = "cpu") -> Self:
        """Rebuild a scorer; one of an unfinished fit scores with its best epoch so far and continues with `fit`.

        Raises
        ------
        ModelFileError
            If a tensor or value is missing or has the wrong shape.
        """
        require_scorer(state, cls.name)
        scorer = cls(device=device)
        scorer._training = _training_of(state, scorer.device)
        scorer.settings = scorer._training.settings
        return scorer


def _state_of(name: str, training: Training) -> ScorerState:
    census = training.census
    values: dict[str, Any] = {
        "settings": asdict(training.settings),
        "epochs_done": training.epoch,
        "best_epoch": training.best_epoch,
        "finished": training.finished,
        "n_maps": census.n_maps,
        "grid_height": census.grid[0],
        "grid_width": census.grid[1],
    }
    tensors = {"channel_mean": census.mean, "channel_scale": census.scale}
    tensors |= {f"network.{key}": value for key, value in training.best.state_dict().items()}
    if training.position_errors is not None:
        tensors["position_errors"] = training.position_errors
    if not training.finished:
        tensors |= {f"current.{key}": value for key, value in training.network.state_dict().items()}
        for key, parameter in training.network.named_parameters():
            moments = training.optimiser.state[parameter]
            tensors |= {f"optimiser.{moment}.{key}": moments[moment] for moment in _MOMENTS}
    return ScorerState.copied(name, values, tensors, training.history)


def _training_of(state: ScorerState, device: torch.device) -> Training:
    settings = saved_settings(state, ArCnnSettings)
    mean = saved_tensor(state, "channel_mean", (None,), torch.float32)
    scale = saved_tensor(state, "channel_scale", (len(mean),), torch.float32)
    grid = (saved_value(state, "grid_height", int), saved_value(state, "grid_width", int))
    training = Training(settings, Census(saved_value(state, "n_maps", int), grid, mean, scale), device)
    training.best.load_state_dict(_saved_network(state, "network.", training.best))
    training.epoch = saved_value(state, "epochs_done", int)
    training.best_epoch = saved_value(state, "best_epoch", int)
    training.finished = saved_value(state, "finished", bool)
    training.history = {key: [float(value) for value in curve] for key, curve in state.history.items()}
    if training.finished and settings.normalise_positions:
        training.position_errors = saved_tensor(state, "position_errors", grid, torch.float32).to(device)
    if not training.finished:
        training.network.load_state_dict(_saved_network(state, "current.", training.network))
        for key, parameter in training.network.named_parameters():
            shapes = {"step": (), "exp_avg": parameter.shape, "exp_avg_sq": parameter.shape}
            training.optimiser.state[parameter] = {
                moment: saved_tensor(state, f"optimiser.{moment}.{key}", shapes[moment], torch.float32).to(
                    "cpu" if moment == "step" else device
                )
                for moment in _MOMENTS
            }
    return training


def _saved_network(
    state: ScorerState, prefix: str, network: RingsNetwork | PaperNetwork
) -> dict[str, torch.Tensor]:
    return {
        key: saved_tensor(state, prefix + key, tuple(value.shape), torch.float32)
        for key, value in network.state_dict().items()
    }

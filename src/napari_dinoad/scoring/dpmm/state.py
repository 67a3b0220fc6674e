"""A point of a DPMM fit as a `ScorerState`, and back."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import ModelFileError
from napari_dinoad.scoring.dpmm.fit import DpmmParameters, FitPoint
from napari_dinoad.scoring.dpmm.mixture import Mixture
from napari_dinoad.scoring.dpmm.statistics import SufficientStatistics
from napari_dinoad.scoring.protocol import ScorerState
from napari_dinoad.scoring.saved_state import saved_settings, saved_tensor, saved_value
from napari_dinoad.settings import DpmmSettings

if TYPE_CHECKING:
    import torch

__all__ = ["point_of", "state_of"]


def state_of(name: str, settings: DpmmSettings, point: FitPoint) -> ScorerState:
    """Return the state of a fit: the best parameters, and while it is unfinished all that the next epoch needs."""
    values: dict[str, Any] = {
        "settings": asdict(settings),
        "alpha": point.best.alpha,
        "epochs_done": point.epoch,
        "best_epoch": point.best_epoch,
        "n_patches": point.n_patches,
        "largest_batch": point.largest_batch,
        "finished": point.finished,
    }
    tensors = _parameter_tensors("", point.best)
    if not point.finished:
        values |= {"current_alpha": point.parameters.alpha, "previous_alpha": point.previous.alpha}
        values["step"] = point.step
        tensors |= _parameter_tensors("current.", point.parameters)
        tensors |= _parameter_tensors("previous.", point.previous)
        for which, statistics in (("online", point.online), ("earlier", point.earlier)):
            if statistics is not None:
                values[f"{which}_patches"] = statistics.n_patches
                values[f"{which}_log_likelihood"] = statistics.log_likelihood
                tensors[f"{which}.responsibilities"] = statistics.responsibilities
                tensors[f"{which}.first"] = statistics.first
                tensors[f"{which}.second"] = statistics.second
    return ScorerState.copied(name, values, tensors, point.history)


def _parameter_tensors(prefix: str, parameters: DpmmParameters) -> dict[str, torch.Tensor]:
    return {
        f"{prefix}sticks": parameters.sticks,
        f"{prefix}log_weights": parameters.mixture.log_weights,
        f"{prefix}means": parameters.mixture.means,
        f"{prefix}covariances": parameters.mixture.covariances,
        f"{prefix}mean_responsibilities": parameters.mean_responsibilities,
    }


def point_of(state: ScorerState, device: torch.device) -> tuple[DpmmSettings, FitPoint]:
    """Return the settings and the point of the fit that `state_of` was given.

    Raises
    ------
    ModelFileError
        If a tensor or value is missing or has the wrong shape.
    """
    settings = saved_settings(state, DpmmSettings)
    finished = saved_value(state, "finished", bool)
    best = _saved_parameters(state, "", saved_value(state, "alpha", float), settings, device)
    current = previous = best
    online = earlier = None
    if not finished:
        alphas = [saved_value(state, f"{which}_alpha", float) for which in ("current", "previous")]
        current = _saved_parameters(state, "current.", alphas[0], settings, device)
        previous = _saved_parameters(state, "previous.", alphas[1], settings, device)
        if settings.update != "exact":
            online = _saved_statistics(state, "online", current.mixture).to(device)
        if "earlier_patches" in state.settings:
            earlier = _saved_statistics(state, "earlier", current.mixture).to(device)
    point = FitPoint(
        parameters=current,
        n_patches=saved_value(state, "n_patches", int),
        largest_batch=saved_value(state, "largest_batch", int),
        epoch=saved_value(state, "epochs_done", int),
        previous=previous,
        best=best,
        best_epoch=saved_value(state, "best_epoch", int),
        earlier=earlier,
        online=online,
        step=1 if finished else saved_value(state, "step", int),
        finished=finished,
        history={key: tuple(map(float, curve)) for key, curve in state.history.items()},
    )
    return settings, point


def _saved_statistics(state: ScorerState, which: str, mixture: Mixture) -> SufficientStatistics:
    return SufficientStatistics(
        saved_value(state, f"{which}_patches", float),
        saved_tensor(state, f"{which}.responsibilities", mixture.log_weights.shape),
        saved_tensor(state, f"{which}.first", mixture.means.shape),
        saved_tensor(state, f"{which}.second", mixture.covariances.shape),
        saved_value(state, f"{which}_log_likelihood", float),
    )


def _saved_parameters(
    state: ScorerState, prefix: str, alpha: float, settings: DpmmSettings, device: torch.device
) -> DpmmParameters:
    means = saved_tensor(state, f"{prefix}means", (None, None))
    k, d = means.shape
    shape = {"diag": (k, d), "spherical": (k,), "full": (k, d, d)}[settings.covariance]
    covariances = saved_tensor(state, f"{prefix}covariances", shape)
    variances = covariances.diagonal(dim1=-2, dim2=-1) if settings.covariance == "full" else covariances
    if k == 0 or not bool((variances > 0).all()):
        raise ModelFileError(
            f"scorer {state.name!r}, tensor '{prefix}covariances': expected positive variances of at least one "
            "component, got none or others; the file is damaged."
        )
    log_weights = saved_tensor(state, f"{prefix}log_weights", (k,))
    mixture = Mixture(log_weights, means, covariances, settings.covariance).to(device)
    sticks = saved_tensor(state, f"{prefix}sticks", (k,)).to(device)
    shares = saved_tensor(state, f"{prefix}mean_responsibilities", (k,)).to(device)
    return DpmmParameters(mixture, sticks, alpha, shares)

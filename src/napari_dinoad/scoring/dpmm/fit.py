"""Fitting a truncated Dirichlet-process mixture: the epochs of EM, from where `start` begins.

A fit is a chain of `FitPoint`, one after each epoch; each follows from the one before and the data alone, so a fit
that stops anywhere continues from its last point to the very same end.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from napari_dinoad.errors import ScorerError
from napari_dinoad.scoring.dpmm.mixture import ComponentDensities, Mixture
from napari_dinoad.scoring.dpmm.pooling import expected_log_joint
from napari_dinoad.scoring.dpmm.statistics import SufficientStatistics, expectation, gaussians
from napari_dinoad.scoring.dpmm.stick_breaking import log_prior, log_weights, update_sticks
from napari_dinoad.scoring.patches import unit_patches
from napari_dinoad.scoring.summation import sum_over

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from napari_dinoad.settings import DpmmSettings

__all__ = ["DpmmParameters", "FitPoint", "changed_data", "next_epoch"]

ROUNDING = 1e-10
"""A relative change of the penalised log-likelihood below this is floating-point noise, not a fall."""


@dataclass(frozen=True)
class DpmmParameters:
    """The parameters of a Dirichlet-process mixture.

    Attributes
    ----------
    mixture : Mixture
        Its weights follow from ``sticks``.
    sticks : torch.Tensor
        (k,) v.
    alpha : float
        Concentration α.
    mean_responsibilities : torch.Tensor
        (k,) s: the share of the patches that each component explained in the E-step before. In the mixture's weights
        the prior has its say too.
    """

    mixture: Mixture
    sticks: torch.Tensor
    alpha: float
    mean_responsibilities: torch.Tensor


@dataclass(frozen=True)
class FitPoint:
    """Where a fit stands after an epoch.

    Attributes
    ----------
    parameters : DpmmParameters
        Of this epoch.
    n_patches, largest_batch : int
        Patches in all batches, and in the largest.
    epoch : int
        Epochs done.
    previous : DpmmParameters
        Of the epoch before.
    best, best_epoch
        The parameters that will be kept, and their epoch.
    earlier : SufficientStatistics, optional
        Of the patches of an earlier fit that are no longer at hand; they take part in each exact epoch as they are.
    online : SufficientStatistics, optional
        Running mean statistics of an online fit.
    step : int
        Number of batches that these were made of.
    finished : bool
        No further epoch is needed.
    history : Mapping[str, tuple of float]
        ``"train_loss"``: mean −log p of the normal patches as each epoch met them, in an update of the new ones;
        ``"validation_loss"``: of the held-out ones after it;
        ``"penalised_log_likelihood"``: Σ log p(x) + log p(v | α) as each epoch met it.
    """

    parameters: DpmmParameters
    n_patches: int
    largest_batch: int
    epoch: int
    previous: DpmmParameters
    best: DpmmParameters
    best_epoch: int
    earlier: SufficientStatistics | None = None
    online: SufficientStatistics | None = None
    step: int = 1
    finished: bool = False
    history: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def first(
        cls,
        parameters: DpmmParameters,
        n_patches: int,
        largest_batch: int,
        *,
        earlier: SufficientStatistics | None = None,
        online: SufficientStatistics | None = None,
        finished: bool = False,
    ) -> FitPoint:
        """Return where a fit stands before its first epoch."""
        return cls(
            parameters=parameters,
            n_patches=n_patches,
            largest_batch=largest_batch,
            epoch=0,
            previous=parameters,
            best=parameters,
            best_epoch=0,
            earlier=earlier,
            online=online,
            finished=finished,
        )


def changed_data(expected: int, statistics: SufficientStatistics | None) -> ScorerError:
    """Return the error to raise where a pass over the data met another number of patches than the first pass."""
    got = 0 if statistics is None else int(statistics.n_patches)
    return ScorerError(
        f"batches: expected the same {expected} patches in every pass, got {got}; "
        "do not change the data during a fit, and resume with the data it began with."
    )


def next_epoch(
    point: FitPoint,
    batches: Iterable[torch.Tensor],
    validation: Iterable[torch.Tensor] | None,
    settings: DpmmSettings,
) -> FitPoint:
    """Return the point one epoch later."""
    epoch = _exact_epoch if settings.update == "exact" else _online_epoch
    moved = epoch(point, batches, settings)
    if moved.epoch == point.epoch:
        return moved
    judged = _with_best(moved, validation, settings)
    return replace(judged, finished=moved.finished or judged.finished)


def _exact_epoch(point: FitPoint, batches: Iterable[torch.Tensor], settings: DpmmSettings) -> FitPoint:
    """Gather statistics over all batches, then maximise once.

    The fit ends when an epoch gains too little. Two estimates save the pass that would only confirm that. EM
    converges linearly, so two gains in a row foretell the next one. And by how much the M-step raises the expected
    log-likelihood follows from the statistics; near the end that is 1 / (1 + r) of the gain, where r < 1 is EM's rate
    of convergence.
    """
    current = point.parameters
    at_hand = sum_over(batches, _batch_statistics, ComponentDensities(current.mixture))
    if at_hand is None:
        raise changed_data(point.n_patches, None)
    total = at_hand
    if point.earlier is not None:
        log_likelihood = expected_log_joint(point.earlier, current.mixture)
        total = at_hand + replace(point.earlier, log_likelihood=log_likelihood)
    if int(total.n_patches) != point.n_patches:
        raise changed_data(point.n_patches, total)
    penalised = total.log_likelihood + log_prior(current.sticks, current.alpha)
    earlier = point.history.get("penalised_log_likelihood", ())
    least_gain = settings.tolerance * point.n_patches * current.mixture.means.shape[1]
    is_last = False
    if earlier:
        gain = penalised - earlier[-1]
        if gain < -ROUNDING * abs(earlier[-1]):
            # λ leaves the M-step a little short of optimal; where that outweighs an epoch's gain, EM is done.
            return _without_last_epoch(point)
        if gain < least_gain:
            return replace(point, finished=True)
        is_last = len(earlier) > 1 and gain * gain < least_gain * (earlier[-1] - earlier[-2])
    parameters, order = _maximise(total, point.n_patches, current, settings, never_lower=True)
    expected_gain = _expected(total.reordered(order), parameters) - _expected(total, current)
    # λ leaves the M-step a little short of optimal: where nothing is expected, only a pass can tell.
    is_last = is_last or 0 <= expected_gain < least_gain
    if point.earlier is not None:
        point = replace(point, earlier=point.earlier.reordered(order))
    history = _appended(point.history, "train_loss", -at_hand.log_likelihood / at_hand.n_patches)
    history = _appended(history, "penalised_log_likelihood", penalised)
    return replace(
        point,
        parameters=parameters,
        previous=current,
        epoch=point.epoch + 1,
        finished=is_last,
        history=history,
    )


def _expected(statistics: SufficientStatistics, parameters: DpmmParameters) -> float:
    """Return the expected penalised log-likelihood of patches whose responsibilities are given."""
    prior = log_prior(parameters.sticks, parameters.alpha)
    return expected_log_joint(statistics, parameters.mixture) + prior


def _batch_statistics(batch: torch.Tensor, densities: ComponentDensities) -> SufficientStatistics:
    """E-step of a batch."""
    return expectation(densities, _patches_of(batch, densities.mixture))


def _without_last_epoch(point: FitPoint) -> FitPoint:
    """Return the finished fit as it was one epoch ago."""
    was_best = point.best_epoch == point.epoch
    return replace(
        point,
        parameters=point.previous,
        best=point.previous if was_best else point.best,
        best_epoch=point.best_epoch - was_best,
        finished=True,
    )


def _online_epoch(point: FitPoint, batches: Iterable[torch.Tensor], settings: DpmmSettings) -> FitPoint:
    """Blend each batch's mean statistics into the running ones: S ← (1 − γ) S + γ S_batch.

    γ is meant for a full batch; a batch of the share w of the largest one gets 1 − (1 − γ)ʷ. The starting
    statistics are step 1 of the ``"decay"`` schedule γ = t^−ρ.
    """
    parameters, online, step = point.parameters, point.online, point.step
    if online is None:
        raise ScorerError("DPMM: expected the running statistics of an online fit, got none; fit it anew.")
    log_likelihood = 0.0
    for batch in batches:
        patches = _patches_of(batch, parameters.mixture)
        if len(patches) == 0:
            continue
        step += 1
        rate = settings.ema_rate if settings.update == "ema" else step**-settings.decay_exponent
        rate = 1 - (1 - rate) ** (len(patches) / point.largest_batch)
        statistics = expectation(ComponentDensities(parameters.mixture), patches)
        log_likelihood += statistics.log_likelihood
        online = online.scaled(1 - rate) + statistics.scaled(rate / len(patches))
        parameters, order = _maximise(online, point.n_patches, parameters, settings, never_lower=False)
        online = online.reordered(order)
    return replace(
        point,
        parameters=parameters,
        previous=point.parameters,
        online=online,
        step=step,
        epoch=point.epoch + 1,
        history=_appended(point.history, "train_loss", -log_likelihood / point.n_patches),
    )


def _patches_of(batch: torch.Tensor, mixture: Mixture) -> torch.Tensor:
    return unit_patches(batch, mixture.means.shape[1], mixture.means.device)


def _maximise(
    statistics: SufficientStatistics,
    n_patches: int,
    current: DpmmParameters,
    settings: DpmmSettings,
    never_lower: bool,
) -> tuple[DpmmParameters, torch.Tensor]:
    """M-step: return the new parameters and the order that their components have in ``statistics``."""
    old = current.mixture
    mean_responsibilities = statistics.responsibilities / statistics.n_patches
    update = update_sticks(
        mean_responsibilities, n_patches, current.alpha, current.sticks if never_lower else None
    )
    means, covariances = gaussians(
        statistics, settings.covariance, settings.effective_regularisation, (old.means, old.covariances)
    )
    mixture = Mixture(
        log_weights(update.sticks), means[update.order], covariances[update.order], settings.covariance
    )
    shares = mean_responsibilities[update.order]
    return DpmmParameters(mixture, update.sticks, update.alpha, shares), update.order


def _with_best(
    point: FitPoint, validation: Iterable[torch.Tensor] | None, settings: DpmmSettings
) -> FitPoint:
    """Keep this epoch's parameters if none explained the held-out normal patches better."""
    is_best = True
    if validation is not None:
        loss = _validation_loss(point.parameters, validation)
        earlier = point.history.get("validation_loss", ())
        is_best = not earlier or loss < min(earlier)
        point = replace(point, history=_appended(point.history, "validation_loss", loss))
    if is_best:
        point = replace(point, best=point.parameters, best_epoch=point.epoch)
    stale = point.epoch - point.best_epoch >= settings.patience
    return replace(point, finished=stale or point.epoch >= settings.epochs)


def _validation_loss(parameters: DpmmParameters, validation: Iterable[torch.Tensor]) -> float:
    """Return the mean −log p of held-out normal patches."""
    total = sum_over(validation, _batch_loss, ComponentDensities(parameters.mixture))
    if total is None or total[1] == 0:
        raise ScorerError("validation: expected at least one patch, got none; leave it out instead.")
    return float(total[0] / total[1])


def _batch_loss(batch: torch.Tensor, densities: ComponentDensities) -> torch.Tensor:
    """Return Σ −log p of a batch's patches and their number, (2,) float64."""
    patches = _patches_of(batch, densities.mixture)
    loss = -float(densities.log_density(patches).sum())
    return torch.tensor([loss, len(patches)], dtype=torch.float64)


def _appended(
    history: Mapping[str, tuple[float, ...]], name: str, value: float
) -> dict[str, tuple[float, ...]]:
    return {**history, name: (*history.get(name, ()), value)}

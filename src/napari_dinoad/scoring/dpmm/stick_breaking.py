"""Stick-breaking weights of a truncated Dirichlet process: the formulas, apart from any estimator.

With mean responsibilities s_k, R_k = Σ_{j>k} s_j and n patches (ALGORITHMS, "DPMM")::

    log π_k = log v_k + Σ_{j<k} log(1 − v_j),   v_K = 1
    v_k = s_k / (s_k + (α − 1)/n + R_k)
    α = (K − 1) / Σ_{k<K} [ψ(n(s_k + R_k) + α + 1) − ψ(n R_k + α)]

v is the mode of its posterior, given v_k ~ Beta(1, α); α is the variational update. All tensors are float64.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

__all__ = [
    "MAX_STICK",
    "MIN_STICK",
    "SticksUpdate",
    "concentration",
    "log_prior",
    "log_weights",
    "stick_weights",
    "update_sticks",
]

MAX_STICK = 1 - 1e-12
"""Sticks before the last stay below 1, so that log(1 − v) is finite."""

MIN_STICK = torch.finfo(torch.float64).tiny
"""Sticks of components that hold anything stay above 0, so that log v is finite."""


def _tail_sums(mean_responsibilities: torch.Tensor) -> torch.Tensor:
    """Return R_k = Σ_{j>k} s_j, summed from the small end."""
    return mean_responsibilities.flip(0).cumsum(0).flip(0) - mean_responsibilities


def stick_weights(mean_responsibilities: torch.Tensor, alpha: float, n_patches: float) -> torch.Tensor:
    """Return v (k) for s (k); the last is 1, the others below 1, and 0 only where s is."""
    s = mean_responsibilities
    whole = s + (alpha - 1) / n_patches + _tail_sums(s).clamp_min(0)
    v = (s / whole.clamp_min(MIN_STICK)).clamp(MIN_STICK, MAX_STICK)
    v = torch.where(s > 0, v, 0.0)
    v[-1] = 1.0
    return v


def log_weights(sticks: torch.Tensor) -> torch.Tensor:
    """Return log π (k) for v (k)."""
    log_rest = torch.log1p(-sticks[:-1]).cumsum(0)
    return sticks.log() + torch.cat([log_rest.new_zeros(1), log_rest])


def concentration(mean_responsibilities: torch.Tensor, alpha: float, n_patches: float) -> float:
    """Return the next α; at least 1, and unchanged for a single component."""
    s = mean_responsibilities
    if len(s) < 2:
        return alpha
    tails = _tail_sums(s).clamp_min(0)[:-1]
    after = torch.digamma(n_patches * tails + alpha)
    whole = torch.digamma(n_patches * (s[:-1] + tails) + alpha + 1)
    return max(1.0, (len(s) - 1) / float((whole - after).sum()))


def log_prior(sticks: torch.Tensor, alpha: float) -> float:
    """Return Σ_{k<K} log Beta(v_k | 1, α)."""
    free = sticks[:-1]
    log_alpha = float(torch.tensor(alpha, dtype=torch.float64).log())
    return len(free) * log_alpha + (alpha - 1) * float(torch.log1p(-free).sum())


@dataclass(frozen=True)
class SticksUpdate:
    """The weights' part of an M-step.

    Attributes
    ----------
    order : torch.Tensor
        (k,) how the components are re-ordered.
    sticks : torch.Tensor
        (k,) v of the re-ordered components.
    alpha : float
        The next concentration.
    """

    order: torch.Tensor
    sticks: torch.Tensor
    alpha: float


def _expected_log(mean_responsibilities: torch.Tensor, log_pi: torch.Tensor, n_patches: float) -> float:
    """Return n Σ s_k log π_k, with 0 log 0 = 0."""
    s = mean_responsibilities
    return n_patches * float(torch.where(s > 0, s * log_pi, 0.0).sum())


def update_sticks(
    mean_responsibilities: torch.Tensor,
    n_patches: float,
    alpha: float,
    current_sticks: torch.Tensor | None = None,
) -> SticksUpdate:
    """Sort the components by size, and update v (with the current α) and then α.

    Sorting, and the variational update of α, are not maximisers of the penalised likelihood
    Σ log p(x) + log p(v | α). With ``current_sticks``, either is left out for this step where it would lower
    the expected penalised likelihood below its current value, so that an exact EM epoch never does.
    """
    s = mean_responsibilities
    by_size = torch.argsort(s, descending=True, stable=True)
    as_is = torch.arange(len(s), device=s.device)
    if current_sticks is None:
        return _candidate(s, by_size, alpha, n_patches, new_alpha=True)
    floor = _expected_log(s, log_weights(current_sticks), n_patches) + log_prior(current_sticks, alpha)
    for order, new_alpha in ((by_size, True), (by_size, False), (as_is, True)):
        update = _candidate(s, order, alpha, n_patches, new_alpha)
        reached = _expected_log(s[update.order], log_weights(update.sticks), n_patches)
        if reached + log_prior(update.sticks, update.alpha) >= floor:
            return update
    return _candidate(s, as_is, alpha, n_patches, new_alpha=False)


def _candidate(
    s: torch.Tensor, order: torch.Tensor, alpha: float, n_patches: float, new_alpha: bool
) -> SticksUpdate:
    ordered = s[order]
    sticks = stick_weights(ordered, alpha, n_patches)
    return SticksUpdate(order, sticks, concentration(ordered, alpha, n_patches) if new_alpha else alpha)

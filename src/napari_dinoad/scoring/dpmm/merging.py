"""Merging components that the data do not tell apart, by their statistics alone.

k-means gives as many clusters as it is asked for, and EM with point estimates keeps a cluster that was cut into
pieces in pieces. Here pairs of components are merged, the least costly first, down to a single one; of all the
mixtures on that path the one with the highest classification likelihood, with Schwarz's penalty for its p parameters
a component, is taken:

    Σ_k [s log s − ½ s Σ_d (log σ²_d + V_d / σ²_d) − ½ p log n],   V = C/s − (m/s)²,   σ² = V + λ

A whole path is needed: of a Gaussian cut into many pieces no pair gains by merging, but the whole of them does.

Without the terms of the weights and the penalty, what a merge costs is n times Runnalls' bound of the
Kullback-Leibler divergence between the mixtures before and after it (IEEE Trans. Aerosp. Electron. Syst. 43, 2007);
so where fewer components are wanted than Schwarz's criterion leaves, the path is followed further.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from napari_dinoad.scoring.dpmm.statistics import SufficientStatistics
    from napari_dinoad.settings import CovarianceType

__all__ = ["alike_groups", "grouped", "merge_alike"]

Criterion = Literal["schwarz", "akaike"]
"""Schwarz's finds how many kinds of patch there are; Akaike's keeps what predicts new patches better."""

_FACTORS = 16
"""Variances, a power of two of them, whose product a logarithm is taken of."""

_SWEPT_SHARE = 0.2
"""Components that were merged into others are dropped from the arrays when they are more than this share of them."""


def _means_and_spread(
    s: torch.Tensor, first: torch.Tensor, second: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the means (k, d) and V (k, d), or its mean over channels (k, 1).

    Parameters
    ----------
    s, first, second : torch.Tensor
        Σ r (k,), Σ r x (k, d), and Σ r x² (k, d) or its mean over channels (k, 1).
    """
    safe = s.clamp_min(torch.finfo(torch.float64).tiny)[:, None]
    means = first / safe
    squared = means.square()
    if second.shape[1] == 1:
        squared = squared.mean(-1, keepdim=True)
    return means, (second / safe - squared).clamp_min(0)


def _likelihood(
    s: torch.Tensor, spread: torch.Tensor, n_channels: int, regularisation: float
) -> torch.Tensor:
    """Return s log s − ½ s Σ_d (log σ²_d + V_d / σ²_d) (k,) of components of spread V; V / σ² is 1 − λ / σ²."""
    variances = spread + regularisation
    short = regularisation * variances.reciprocal().sum(-1)
    per_channel = 1 + (_sum_of_logs(variances) - short) / spread.shape[1]
    entropy: torch.Tensor = torch.special.xlogy(s, s)
    return entropy - 0.5 * s * per_channel * n_channels


def _sum_of_logs(values: torch.Tensor) -> torch.Tensor:
    """Return Σ log (k,) of the rows of values (k, c) > 0, as logarithms of products of `_FACTORS` each.

    A logarithm takes far longer than a product. Values between 1e-19 and 1e19 neither underflow nor overflow.
    """
    whole = values.shape[1] // _FACTORS * _FACTORS
    rest, products = values[:, whole:], values[:, :whole]
    for _ in range(_FACTORS.bit_length() - 1):
        half = products.shape[1] // 2
        products = products[:, :half] * products[:, half:]
    return products.log_().sum(-1) + rest.log().sum(-1)


def merge_alike(
    statistics: SufficientStatistics,
    covariance: CovarianceType,
    regularisation: float,
    n_patches: float | None = None,
) -> SufficientStatistics:
    """Return the statistics with alike components merged, and empty ones dropped.

    Full covariances are judged by their diagonal. On the CPU. With ``n_patches`` the statistics are those of a
    uniform sample of so many; see `alike_groups`.
    """
    kept = (statistics.responsibilities > 0).nonzero().squeeze(1)
    statistics = statistics.reordered(kept)
    return grouped(statistics, alike_groups(statistics, covariance, regularisation, n_patches=n_patches))


def alike_groups(
    statistics: SufficientStatistics,
    covariance: CovarianceType,
    regularisation: float,
    at_most: int | None = None,
    criterion: Criterion = "schwarz",
    n_patches: float | None = None,
) -> torch.Tensor:
    """Return which components belong together: the number (k,) int64 of each one's group.

    Each parameter raises the likelihood of the very patches that it was fitted on by ½ even where it says nothing
    about others. So what a sample of m of n patches gains is worth (n / m) (gain − ½ p), and Schwarz's penalty of
    ½ p log n for all of them is one of ½ p (1 + (m / n) (log n − 1)) for the sample.

    Parameters
    ----------
    statistics : SufficientStatistics
        On the CPU, no component empty.
    at_most : int, optional
        No more groups than this, even where the data tell more apart.
    criterion : {"schwarz", "akaike"}
        What p parameters of a component cost: ½ p log n, or p.
    n_patches : float, optional
        By Schwarz's criterion: the n patches that the statistics are a uniform sample of. None: of all.
    """
    s, first, second = statistics.responsibilities, statistics.first, statistics.second
    judged = second.diagonal(dim1=-2, dim2=-1) if covariance == "full" else second.reshape(len(second), -1)
    per_parameter = _schwarz(float(s.sum()), n_patches) if criterion == "schwarz" else 1.0
    penalty = per_parameter * (1 + first.shape[1] + judged.shape[1])
    group = torch.arange(len(s))
    at_most = len(s) if at_most is None else at_most
    for into, gone in _best_merges(s, first, judged, regularisation, penalty, at_most):
        group[group == gone] = into
    numbers: torch.Tensor = torch.unique(group, return_inverse=True)[1]
    return numbers


def _schwarz(n_sampled: float, n_patches: float | None) -> float:
    """Return what a parameter costs in log-likelihood of a sample; see `alike_groups`."""
    n = n_sampled if n_patches is None else n_patches
    return 0.5 * (1 + n_sampled / n * (math.log(n) - 1))


def grouped(statistics: SufficientStatistics, group: torch.Tensor) -> SufficientStatistics:
    """Return the statistics of the groups that `alike_groups` numbered: sums over their components."""
    n_groups = int(group.max()) + 1

    def summed(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.new_zeros(n_groups, *tensor.shape[1:]).index_add_(0, group, tensor)

    return statistics.changed(summed)


def _best_merges(
    s: torch.Tensor,
    first: torch.Tensor,
    second: torch.Tensor,
    regularisation: float,
    penalty: float,
    at_most: int,
) -> list[tuple[int, int]]:
    """Return the merges (into, gone), in order, that lead to the best mixture on the greedy path.

    Of those with ``at_most`` components.
    """
    path = _GreedyPath(s, first, second, regularisation, penalty)
    merges: list[tuple[int, int]] = []
    n_needed, n_merges = max(0, len(s) - at_most), len(s) - 1
    total, best_total, n_best = 0.0, 0.0 if n_needed == 0 else -math.inf, 0
    for _ in range(n_merges):
        gain, into, gone = path.merge_best()
        total += gain
        merges.append((into, gone))
        if len(merges) >= n_needed and total > best_total:
            best_total, n_best = total, len(merges)
    return merges[:n_best]


class _GreedyPath:
    """Components, and what is gained by merging each pair of them; the best pair is merged, one after the other.

    Parameters
    ----------
    s, first, second : torch.Tensor
        Sufficient statistics of k components: (k,), (k, d) and (k, d) or (k, 1).
    regularisation : float
    penalty : float
        What a component costs in log-likelihood.
    """

    def __init__(
        self,
        s: torch.Tensor,
        first: torch.Tensor,
        second: torch.Tensor,
        regularisation: float,
        penalty: float,
    ) -> None:
        self._n_channels, self._regularisation, self._penalty = first.shape[1], regularisation, penalty
        self._s = s.clone()
        self._means, self._spread = _means_and_spread(s, first, second)
        self._own = self._likelihood(self._s, self._spread)
        # What is gone is swept out of all arrays from time to time; these are the components that are left.
        self._names = torch.arange(len(s))
        self._gone = torch.zeros(len(s), dtype=torch.bool)
        self._gains = s.new_full((len(s), len(s)), -torch.inf)
        for k in range(len(s) - 1):
            later = slice(k + 1, None)
            self._gains[k, later] = self._gains[later, k] = self._gains_with(k, later)
        # Of each row: to look through all pairs for each merge would take a time that grows as the cube of their
        # number.
        self._highest = self._gains.amax(1)

    def merge_best(self) -> tuple[float, int, int]:
        """Merge the pair that gains most; return its gain, and which component took in which."""
        into = int(self._highest.numpy().argmax())
        other = int(self._gains[into].numpy().argmax())
        gain = float(self._gains[into, other])
        merged = int(self._names[into]), int(self._names[other])
        self._merge(into, other)
        self._renew_gains(into, other)
        if int(self._gone.sum()) > _SWEPT_SHARE * len(self._gone):
            self._sweep()
        return gain, *merged

    def _likelihood(self, s: torch.Tensor, spread: torch.Tensor) -> torch.Tensor:
        return _likelihood(s, spread, self._n_channels, self._regularisation)

    def _spread_with(self, k: int, others: slice) -> torch.Tensor:
        """Return V of each of the others together with ``k``: their own, and what lies between their means."""
        share = (self._s[others] / (self._s[others] + self._s[k]))[:, None]
        between = (self._means[others] - self._means[k]).square_()
        if self._spread.shape[1] == 1:
            between = between.mean(-1, keepdim=True)
        between.mul_(share * (1 - share))
        return between.addcmul_(self._spread[others], share).addcmul_(self._spread[k], 1 - share)

    def _gains_with(self, k: int, others: slice) -> torch.Tensor:
        together = self._likelihood(self._s[others] + self._s[k], self._spread_with(k, others))
        return together - self._own[others] - self._own[k] + self._penalty

    def _merge(self, into: int, other: int) -> None:
        self._gone[other] = True
        one = slice(into, into + 1)
        self._spread[one] = self._spread_with(other, one)
        share = self._s[other] / (self._s[into] + self._s[other])
        self._means[into] += (self._means[other] - self._means[into]) * share
        self._s[into] += self._s[other]
        self._own[one] = self._likelihood(self._s[one], self._spread[one])

    def _renew_gains(self, into: int, other: int) -> None:
        gains, highest, gone = self._gains, self._highest, self._gone
        is_stale = ((gains[other] == highest) | (gains[into] == highest)) & ~gone
        gains[other], gains[:, other] = -torch.inf, -torch.inf
        anew = self._gains_with(into, slice(None)).masked_fill_(gone, -torch.inf)
        anew[into] = -torch.inf
        gains[into], gains[:, into] = anew, anew
        highest = torch.maximum(highest, anew)
        highest[is_stale] = gains[is_stale].amax(1)
        highest[into], highest[other] = anew.max(), -torch.inf
        self._highest = highest

    def _sweep(self) -> None:
        left = (~self._gone).nonzero().squeeze(1)
        self._s, self._means, self._spread = self._s[left], self._means[left], self._spread[left]
        self._own, self._names, self._gone = self._own[left], self._names[left], self._gone[left]
        self._gains, self._highest = self._gains[left][:, left], self._highest[left]

"""Dirichlet-process mixtures as data: what a fitted mixture says of its patches, pooled with others or with new ones.

A component of mean μ_k and covariance Σ_k that a share r_k of n patches belongs to is all that a later fit needs to
know of its n r_k patches::

    s_k = n r_k,   m_k = s_k μ_k,   C_k = s_k (Σ_k − λI + μ_k μ_kᵀ)

r, the mean responsibilities of the last E-step, is stored beside the weights π, which score: in π the prior has its
say, and what it leaves over is all in the last component (see ``scoring/dpmm/stick_breaking``).

Statistics of disjoint patches add, so mixtures of several hospitals are joined, and new scans are added to a mixture,
without an image of before. Components of one kind are merged by the criterion that also ends k-means (see
``scoring/dpmm/merging``). The stored mixture stands for its patches as its own last E-step divided them: an
incremental EM (Neal and Hinton, 1998), whose bound of the penalised likelihood never falls.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_dinoad.scoring.dpmm.merging import alike_groups, grouped
from napari_dinoad.scoring.dpmm.statistics import EMPTY, SufficientStatistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.scoring.dpmm.mixture import Mixture
    from napari_dinoad.settings import CovarianceType

__all__ = ["expected_log_joint", "pooled", "pooled_truncation", "side_by_side", "statistics_of"]

MOST_COMPONENTS = 2000
"""Of a mixture of several fits, at most: about those of two as they are."""

POOLED_AT_ONCE = 4000
"""Components compared with each other at a time; more are reduced in turns."""


def pooled_truncation(truncations: Sequence[int]) -> int:
    """Return how many components a mixture of several fits may have: as many as all, at most `MOST_COMPONENTS`.

    No fewer than one of them, where that is more.
    """
    return min(sum(truncations), max(*truncations, MOST_COMPONENTS))


def statistics_of(
    mixture: Mixture, mean_responsibilities: torch.Tensor, n_patches: float, regularisation: float
) -> SufficientStatistics:
    """Return the statistics of the ``n_patches`` that a mixture was fitted on, as far as it knows them; on the CPU.

    Empty components are left out.

    Parameters
    ----------
    mixture : Mixture
    mean_responsibilities : torch.Tensor
        (k,) share of the patches that each component explains.
    n_patches : float
    regularisation : float
        λ of its fit.
    """
    s = n_patches * mean_responsibilities.to("cpu")
    kept = (s >= EMPTY).nonzero().squeeze(1)
    s, mixture = s[kept], mixture.to("cpu").selected(kept)
    means = mixture.means
    if mixture.covariance == "full":
        spread = mixture.covariances.clone()
        spread.diagonal(dim1=-2, dim2=-1).sub_(regularisation)
        second = s[:, None, None] * (spread + means[:, :, None] * means[:, None, :])
    elif mixture.covariance == "spherical":
        second = s * ((mixture.covariances - regularisation).clamp_min(0) + means.square().mean(-1))
    else:
        second = s[:, None] * ((mixture.covariances - regularisation).clamp_min(0) + means.square())
    return SufficientStatistics(float(n_patches), s, s[:, None] * means, second)


def side_by_side(parts: Sequence[SufficientStatistics]) -> SufficientStatistics:
    """Return the statistics of disjoint patches with all their components, each for itself."""
    return SufficientStatistics(
        sum(part.n_patches for part in parts),
        torch.cat([part.responsibilities for part in parts]),
        torch.cat([part.first for part in parts]),
        torch.cat([part.second for part in parts]),
    )


def pooled(
    parts: Sequence[SufficientStatistics], covariance: CovarianceType, regularisation: float, at_most: int
) -> SufficientStatistics:
    """Return the statistics of disjoint patches, components that are alike merged, at most ``at_most`` of them.

    The parts' order has no influence as long as there are no more than `POOLED_AT_ONCE` components.
    """
    total = parts[0]
    for number, part in enumerate(parts[1:], start=2):
        total = side_by_side([total, part])
        if number == len(parts) or len(total.responsibilities) + at_most > POOLED_AT_ONCE:
            order = torch.argsort(total.responsibilities, descending=True, stable=True)
            total = total.reordered(order)
            total = grouped(total, alike_groups(total, covariance, regularisation, at_most, "akaike"))
    return total


def expected_log_joint(statistics: SufficientStatistics, mixture: Mixture) -> float:
    """Return Σ_k Σ_n r_nk log π_k N(x_n | μ_k, Σ_k) from the statistics of the patches x_n alone.

    With S_k = C_k − m_k μ_kᵀ − μ_k m_kᵀ + s_k μ_k μ_kᵀ it is Σ_k s_k log π_k − ½ [s_k log det 2πΣ_k + tr(Σ_k⁻¹ S_k)].
    """
    s, first, second = statistics.responsibilities, statistics.first, statistics.second
    means, d = mixture.means, mixture.means.shape[1]
    if mixture.covariance == "full":
        cross = first[:, :, None] * means[:, None, :]
        scatter = second - cross - cross.mT + s[:, None, None] * means[:, :, None] * means[:, None, :]
        cholesky = torch.linalg.cholesky(mixture.covariances)
        solved = torch.cholesky_solve(scatter, cholesky)
        distances = solved.diagonal(dim1=-2, dim2=-1).sum(-1)
        log_determinants = 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    else:
        # Spherical: C is the mean of the squares over the channels.
        is_diagonal = mixture.covariance == "diag"
        variances = mixture.covariances if is_diagonal else mixture.covariances[:, None].expand_as(means)
        squares = second if is_diagonal else second[:, None].expand_as(means)
        scatter = squares - 2 * first * means + s[:, None] * means.square()
        distances = (scatter / variances).sum(-1)
        log_determinants = variances.log().sum(-1)
    log_normaliser = d * torch.log(torch.tensor(2 * torch.pi, dtype=torch.float64)) + log_determinants
    terms = torch.where(s > 0, s * mixture.log_weights, 0.0) - 0.5 * (s * log_normaliser + distances)
    return float(terms.sum())

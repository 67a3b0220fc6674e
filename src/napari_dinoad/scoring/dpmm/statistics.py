"""Sufficient statistics of a mixture: gathered in an E-step, added over batches or hospitals, turned into parameters.

    s_k = Σ_n r_nk,   m_k = Σ_n r_nk x_n,   C_k = Σ_n r_nk x_n x_nᵀ   (diag: x_n², spherical: the mean of x_n²)

Sums, not means: statistics of disjoint data simply add.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import reduce
from itertools import pairwise
from operator import add
from typing import TYPE_CHECKING

import numpy as np
import torch
from scipy.sparse import csr_array

from napari_dinoad.scoring.patches import in_chunks

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_dinoad.scoring.dpmm.mixture import ComponentDensities
    from napari_dinoad.scoring.dpmm.quadratic_forms import SparsePairs
    from napari_dinoad.settings import CovarianceType

__all__ = ["SufficientStatistics", "expectation", "gaussians", "hard_statistics"]

EMPTY = 1e-10
"""A component with fewer patches than this keeps its mean and covariance."""


@dataclass(frozen=True)
class SufficientStatistics:
    """Sums over patches, float64.

    Attributes
    ----------
    n_patches : float
        How many patches (or their weight, in an online fit).
    responsibilities : torch.Tensor
        (k,) Σ r.
    first : torch.Tensor
        (k, d) Σ r x.
    second : torch.Tensor
        Σ r x²: diag (k, d), spherical (k,), full (k, d, d).
    log_likelihood : float
        Σ log p(x) under the mixture of the E-step.
    """

    n_patches: float
    responsibilities: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    log_likelihood: float = 0.0

    def __add__(self, other: SufficientStatistics) -> SufficientStatistics:
        return SufficientStatistics(
            self.n_patches + other.n_patches,
            self.responsibilities + other.responsibilities,
            self.first + other.first,
            self.second + other.second,
            self.log_likelihood + other.log_likelihood,
        )

    def changed(self, change: Callable[[torch.Tensor], torch.Tensor]) -> SufficientStatistics:
        """Return these statistics with each of their tensors as ``change`` returns it."""
        return replace(
            self,
            responsibilities=change(self.responsibilities),
            first=change(self.first),
            second=change(self.second),
        )

    def scaled(self, factor: float) -> SufficientStatistics:
        """Return these statistics as if every patch counted ``factor`` times."""
        scaled = self.changed(lambda tensor: tensor * factor)
        return replace(scaled, n_patches=self.n_patches * factor, log_likelihood=self.log_likelihood * factor)

    def to(self, device: str | torch.device) -> SufficientStatistics:
        """Return these statistics on ``device``."""
        return self.changed(lambda tensor: tensor.to(device))

    def reordered(self, order: torch.Tensor) -> SufficientStatistics:
        """Return these statistics with the components in another order (or a selection of them)."""
        return self.changed(lambda tensor: tensor[order])


def expectation(densities: ComponentDensities, patches: torch.Tensor) -> SufficientStatistics:
    """E-step: the statistics of ``patches`` (n, d) under a mixture, chunked to the memory budget."""
    mixture, alive = densities.mixture, densities.alive
    first = torch.zeros_like(mixture.means)
    second = torch.zeros_like(mixture.covariances)
    counts = torch.zeros_like(mixture.log_weights)
    log_likelihood = 0.0
    for chunk in densities.chunks(patches):
        sparse = densities.sparse_log_joint(chunk)
        if sparse is None:
            part = _dense_statistics(densities, chunk)
        else:
            part = _sparse_statistics(sparse, chunk, len(alive), mixture.covariance)
        counts[alive] += part.responsibilities
        first[alive] += part.first
        second[alive] += part.second
        log_likelihood += part.log_likelihood
    return SufficientStatistics(float(len(patches)), counts, first, second, log_likelihood)


def _dense_statistics(densities: ComponentDensities, patches: torch.Tensor) -> SufficientStatistics:
    """Return the statistics of the components alive, from all pairs."""
    x = patches.to(torch.float64)
    log_joint = densities.log_joint(x)
    log_density = log_joint.logsumexp(-1)
    weights = log_joint.sub_(log_density[:, None]).exp_()
    statistics = _weighted_statistics(weights, x, densities.mixture.covariance)
    return replace(statistics, log_likelihood=float(log_density.sum()))


def _weighted_statistics(
    weights: torch.Tensor, x: torch.Tensor, covariance: CovarianceType
) -> SufficientStatistics:
    """Return the statistics of patches (n, d) with weights (n, k), both float64."""
    if covariance == "diag":
        second = weights.T @ x.square()
    elif covariance == "spherical":
        second = weights.T @ x.square().mean(-1)
    else:
        second = torch.stack([x.T @ (w[:, None] * x) for w in weights.T])
    return SufficientStatistics(float(len(x)), weights.sum(0), weights.T @ x, second)


def _sparse_statistics(
    log_joint: SparsePairs, patches: torch.Tensor, n_components: int, covariance: CovarianceType
) -> SufficientStatistics:
    """Return the statistics of the components alive, from the pairs that matter."""
    log_density = log_joint.log_sum_exp()
    weights = np.exp(log_joint.values - log_density[log_joint.rows])
    shape = (n_components, len(patches))
    by_component = csr_array((weights, (log_joint.components, log_joint.rows)), shape=shape)
    statistics = _sparsely_weighted_statistics(by_component, patches, covariance)
    return replace(statistics, log_likelihood=float(log_density.sum()))


def _sparsely_weighted_statistics(
    by_component: csr_array, patches: torch.Tensor, covariance: CovarianceType
) -> SufficientStatistics:
    """Return the statistics of patches (n, d) with weights (k, n), on the CPU."""
    x = patches.to(torch.float64).numpy()
    if covariance == "full":
        second = _weighted_outer_products(by_component, x)
    else:
        second = by_component @ (np.square(x) if covariance == "diag" else np.square(x).mean(-1))
    return SufficientStatistics(
        float(len(x)),
        torch.from_numpy(by_component.sum(1)),
        torch.from_numpy(by_component @ x),
        torch.from_numpy(second),
    )


def _weighted_outer_products(by_component: csr_array, x: np.ndarray) -> np.ndarray:
    """Return Σ_n w_kn x_n x_nᵀ (k, d, d), each component over its own patches."""
    result = np.zeros((by_component.shape[0], x.shape[1], x.shape[1]))
    for k, (first, last) in enumerate(pairwise(by_component.indptr)):
        if last > first:
            own = x[by_component.indices[first:last]]
            result[k] = own.T @ (by_component.data[first:last, None] * own)
    return result


def hard_statistics(
    patches: torch.Tensor, labels: torch.Tensor, n_components: int, covariance: CovarianceType
) -> SufficientStatistics:
    """Return the statistics of patches (n, d) that each belong wholly to the component ``labels`` (n,)."""
    if patches.device.type != "cpu":
        # A product with an indicator matrix: adding rows by index has no fixed order on a GPU.
        chunks = (in_chunks(rows, 24 * (n_components + patches.shape[1])) for rows in (patches, labels))
        return reduce(
            add,
            (
                _weighted_statistics(
                    torch.nn.functional.one_hot(own_labels, n_components).to(torch.float64),
                    own.to(torch.float64),
                    covariance,
                )
                for own, own_labels in zip(*chunks, strict=True)
            ),
        )
    rows = np.arange(len(patches))
    one = np.ones(len(patches))
    by_component = csr_array((one, (labels.numpy(), rows)), shape=(n_components, len(patches)))
    return _sparsely_weighted_statistics(by_component, patches, covariance)


def gaussians(
    statistics: SufficientStatistics,
    covariance: CovarianceType,
    regularisation: float,
    fallback: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """M-step of means and covariances: μ = m/s, Σ = C/s − μμᵀ + λI (spherical: the mean of the diagonal).

    Empty components keep ``fallback`` (their current means and covariances).
    """
    s = statistics.responsibilities
    empty = s < EMPTY
    safe = torch.where(empty, 1.0, s)
    means = statistics.first / safe[:, None]
    if covariance == "diag":
        covariances = (statistics.second / safe[:, None] - means.square()).clamp_min(0) + regularisation
    elif covariance == "spherical":
        covariances = (statistics.second / safe - means.square().mean(-1)).clamp_min(0) + regularisation
    else:
        outer = means[:, :, None] * means[:, None, :]
        covariances = statistics.second / safe[:, None, None] - outer
        covariances = (covariances + covariances.mT) / 2
        covariances.diagonal(dim1=-2, dim2=-1).add_(regularisation)
    if fallback is not None and bool(empty.any()):
        means[empty], covariances[empty] = fallback[0][empty], fallback[1][empty]
    return means, covariances

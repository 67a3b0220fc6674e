"""A mixture of Gaussians, and the log-density of its components at many patches.

As matrix products: log π_k N(x | μ_k, Σ_k) = c_k + X (μ/σ²)ᵀ − ½ X² (1/σ²)ᵀ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_dinoad.scoring.patches import in_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_dinoad.settings import CovarianceType

__all__ = ["ComponentDensities", "Mixture"]


@dataclass(frozen=True)
class Mixture:
    """Weights, means and covariances, float64, on one device.

    Attributes
    ----------
    log_weights : torch.Tensor
        (k,) log π.
    means : torch.Tensor
        (k, d).
    covariances : torch.Tensor
        diag (k, d), spherical (k,), full (k, d, d).
    covariance : str
        ``"diag"``, ``"spherical"`` or ``"full"``.
    """

    log_weights: torch.Tensor
    means: torch.Tensor
    covariances: torch.Tensor
    covariance: CovarianceType

    @property
    def n_components(self) -> int:
        """K."""
        return len(self.means)

    def to(self, device: str | torch.device) -> Mixture:
        """Return this mixture on ``device``."""
        return Mixture(
            self.log_weights.to(device), self.means.to(device), self.covariances.to(device), self.covariance
        )


class ComponentDensities:
    """Log-densities of a mixture's components; holds what does not depend on the patches.

    Components of weight 0 take no part.
    """

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture
        self.alive = torch.isfinite(mixture.log_weights).nonzero().squeeze(1)
        means, covariances = mixture.means[self.alive], mixture.covariances[self.alive]
        self._means = means
        n_channels = means.shape[1]
        if mixture.covariance == "full":
            cholesky = torch.linalg.cholesky(covariances)
            eye = torch.eye(n_channels, dtype=means.dtype, device=means.device)
            self._whitening = torch.linalg.solve_triangular(cholesky, eye.expand_as(cholesky), upper=False)
            log_det = 2 * cholesky.diagonal(dim1=-2, dim2=-1).log().sum(-1)
        else:
            if mixture.covariance == "spherical":
                covariances = covariances[:, None].expand_as(means)
            self._precisions = 1 / covariances
            log_det = covariances.log().sum(-1)
            self._scaled_means = means * self._precisions
            self._mean_quadratic = (means * self._scaled_means).sum(-1)
        self._constants = mixture.log_weights[self.alive] - 0.5 * (
            n_channels * math.log(2 * math.pi) + log_det
        )

    def chunks(self, patches: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield ``patches`` (n, d) in slices whose intermediate results fit into the memory budget."""
        return in_chunks(patches, 24 * (len(self.alive) + patches.shape[1]))

    def squared_mahalanobis(self, patches: torch.Tensor) -> torch.Tensor:
        """Return (x − μ_k)ᵀ Σ_k⁻¹ (x − μ_k) for patches (n, d), as (n, k alive) float64."""
        x = patches.to(torch.float64)
        if self.mixture.covariance == "full":
            distances = x.new_empty(len(x), len(self._means))
            for k, (mean, whitening) in enumerate(zip(self._means, self._whitening, strict=True)):
                distances[:, k] = ((x - mean) @ whitening.T).square().sum(-1)
            return distances
        distances = torch.addmm(self._mean_quadratic, x.square(), self._precisions.T)
        return distances.addmm_(x, self._scaled_means.T, alpha=-2).clamp_min_(0)

    def log_joint(self, patches: torch.Tensor) -> torch.Tensor:
        """Return log π_k N(x_n | μ_k, Σ_k) for patches (n, d), as (n, k alive) float64."""
        return self.squared_mahalanobis(patches).mul_(-0.5).add_(self._constants)

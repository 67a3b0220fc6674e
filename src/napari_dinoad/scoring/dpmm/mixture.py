"""A mixture of Gaussians, and the log-density of its components at many patches.

As matrix products: log π_k N(x | μ_k, Σ_k) = c_k + X (μ/σ²)ᵀ − ½ X² (1/σ²)ᵀ.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from napari_dinoad.scoring.dpmm.quadratic_forms import (
    DiagonalForms,
    FullForms,
    QuadraticForms,
    SparsePairs,
    screened_pairs,
)
from napari_dinoad.scoring.patches import cache_budget, in_chunks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_dinoad.settings import CovarianceType

__all__ = ["ComponentDensities", "Mixture"]

NEGLIGIBLE_NATS = 44.0
"""Components this far below a patch's best are left out: e⁻⁴⁴ = 8e-20, so two thousand of them, as many as a mixture
of several fits may have, are below the rounding of float64."""


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

    def selected(self, components: torch.Tensor) -> Mixture:
        """Return a mixture of some of the components, with the weights that they have here."""
        return Mixture(
            self.log_weights[components],
            self.means[components],
            self.covariances[components],
            self.covariance,
        )

    def to(self, device: str | torch.device) -> Mixture:
        """Return this mixture on ``device``."""
        return Mixture(
            self.log_weights.to(device), self.means.to(device), self.covariances.to(device), self.covariance
        )


class ComponentDensities:
    """Log-densities of a mixture's components; holds all that does not depend on the patches.

    Components of weight 0 take no part: k' are alive, at the places `alive`.

    Attributes
    ----------
    mixture : Mixture
    alive : torch.Tensor
        (k',) int64 indices into the mixture.
    """

    def __init__(self, mixture: Mixture) -> None:
        self.mixture = mixture
        self.alive = torch.isfinite(mixture.log_weights).nonzero().squeeze(1)
        means, covariances = mixture.means[self.alive], mixture.covariances[self.alive]
        self._forms: QuadraticForms
        if mixture.covariance == "full":
            self._forms = FullForms(means, covariances)
        elif mixture.covariance == "spherical":
            self._forms = DiagonalForms(means, covariances[:, None].expand_as(means))
        else:
            self._forms = DiagonalForms(means, covariances)
        log_normaliser = means.shape[1] * math.log(2 * math.pi) + self._forms.log_determinants
        self._constants = mixture.log_weights[self.alive] - 0.5 * log_normaliser
        self._crowded = False

    def __reduce__(self) -> tuple[type[ComponentDensities], tuple[Mixture]]:
        """Travel to other processes as the mixture alone; all else follows from it."""
        return type(self), (self.mixture,)

    def chunks(self, patches: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield ``patches`` (n, d) in slices whose intermediate results fit into the cache or memory budget."""
        return in_chunks(patches, 8 * (len(self.alive) + patches.shape[1]), cache_budget(patches.device))

    def log_joint(self, patches: torch.Tensor) -> torch.Tensor:
        """Return log π_k N(x_n | μ_k, Σ_k) for patches (n, d), as (n, k') float64."""
        return self._forms.all_pairs(patches).mul_(-0.5).add_(self._constants)

    def sparse_log_joint(self, patches: torch.Tensor) -> SparsePairs | None:
        """Return log π_k N(x_n | μ_k, Σ_k) of the pairs that matter for patches (n, d) of at most unit length.

        The pairs left out are below e⁻⁴⁴ of their patch's largest. None where this would not be cheaper than
        `log_joint`: on other devices than the CPU, and where too many components overlap.
        """
        return self._screened(patches, self._constants, NEGLIGIBLE_NATS)

    def log_density(self, patches: torch.Tensor) -> torch.Tensor:
        """Return log p(x) (n,) float64 for patches (n, d) of at most unit length."""

        def of_chunk(chunk: torch.Tensor) -> torch.Tensor:
            sparse = self.sparse_log_joint(chunk)
            if sparse is None:
                return self.log_joint(chunk).logsumexp(-1)
            return torch.from_numpy(sparse.log_sum_exp())

        return torch.cat([of_chunk(chunk) for chunk in self.chunks(patches)])

    def nearest_mahalanobis(self, patches: torch.Tensor) -> torch.Tensor:
        """Return the distance (n,) float64 to the nearest component, for patches (n, d) of at most unit length."""

        def of_chunk(chunk: torch.Tensor) -> torch.Tensor:
            sparse = self._screened(chunk, torch.zeros_like(self._constants), cutoff=0.0)
            if sparse is None:
                return self._forms.all_pairs(chunk).amin(-1)
            return torch.from_numpy(-2 * sparse.largest())

        return torch.cat([of_chunk(chunk) for chunk in self.chunks(patches)]).clamp_min(0).sqrt()

    def _screened(self, patches: torch.Tensor, constants: torch.Tensor, cutoff: float) -> SparsePairs | None:
        if patches.device.type != "cpu" or self._crowded:
            return None
        pairs = screened_pairs(self._forms, patches, constants, cutoff)
        # Where components overlap for one chunk they do for the next: no need to screen it for nothing.
        self._crowded = pairs is None
        return pairs

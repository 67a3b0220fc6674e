"""Where a fit of a Dirichlet-process mixture starts: k-means clusters of all patches, alike ones merged.

`start` knows the patches alone, `start_update` also those of an earlier fit, by their statistics.
"""

from __future__ import annotations

import logging
import operator
from dataclasses import replace
from functools import reduce
from typing import TYPE_CHECKING

from napari_dinoad.progress import report
from napari_dinoad.scoring.dpmm.fit import DpmmParameters, FitPoint, changed_data
from napari_dinoad.scoring.dpmm.merging import alike_groups, grouped, merge_alike
from napari_dinoad.scoring.dpmm.mixture import Mixture
from napari_dinoad.scoring.dpmm.pooling import side_by_side
from napari_dinoad.scoring.dpmm.statistics import SufficientStatistics, gaussians, hard_statistics
from napari_dinoad.scoring.dpmm.stick_breaking import log_weights, update_sticks
from napari_dinoad.scoring.patch_sample import sample_patches
from napari_dinoad.scoring.patches import (
    cache_budget,
    in_chunks,
    seeded_generator,
    unit_length,
    unit_patches,
)
from napari_dinoad.scoring.seeding import k_means, k_means_plus_plus, nearest_centres, principal_splits
from napari_dinoad.scoring.summation import sum_over

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch

    from napari_dinoad.progress import Progress
    from napari_dinoad.scoring.patch_sample import PatchSample
    from napari_dinoad.settings import CovarianceType, DpmmSettings

__all__ = ["parameters_of", "start", "start_update"]

logger = logging.getLogger(__name__)

CLUSTERING = "Finding the first clusters"
"""What is told between the sample of patches and the first epoch: some seconds in which the fit can be cancelled."""

SPLIT_PATCHES_PER_COMPONENT = 80
"""So many patches tell where principal splits go; Lloyd's iterations then hear the whole sample."""


def start(
    batches: Iterable[torch.Tensor],
    settings: DpmmSettings,
    device: str | torch.device = "cpu",
    progress: Progress | None = None,
) -> FitPoint:
    """Start from k-means over a sample of all batches.

    The clusters' statistics are those of the sample, each patch of which counts for as many as there are; of full
    covariances, which take more patches, they come from a pass over all. Clusters that the data do not tell apart are
    merged (with ``settings.merge``), so fewer than ``n_components`` may be left; so too where the sample has fewer
    distinct patches.
    """
    centres, sample = _centres(batches, settings, progress)
    n_patches = sample.n_patches
    if settings.covariance == "full":
        clusters = _statistics(batches, n_patches, centres.to(device), settings)
    else:
        clusters = _statistics_of_sample(sample.patches, centres, settings)
    if settings.merge:
        merged = merge_alike(
            clusters.to("cpu"), settings.covariance, settings.effective_regularisation, n_patches
        )
        logger.info(
            "of %d clusters %d are told apart", len(clusters.responsibilities), len(merged.responsibilities)
        )
        clusters = merged
    clusters = clusters.to(device).scaled(n_patches / clusters.n_patches)
    parameters, order = parameters_of(clusters, settings, settings.alpha0)
    mean_statistics = clusters.scaled(1 / clusters.n_patches)
    return FitPoint.first(
        parameters,
        n_patches=n_patches,
        largest_batch=sample.largest_batch,
        online=None if settings.update == "exact" else mean_statistics.reordered(order),
    )


def start_update(
    earlier: SufficientStatistics,
    alpha: float,
    batches: Iterable[torch.Tensor],
    settings: DpmmSettings,
    n_clusters: int,
    device: str | torch.device,
    progress: Progress | None,
) -> FitPoint:
    """Start a fit on the patches of an earlier one, known by their statistics, and on new batches.

    The new patches are clustered as in `start`; clusters whose difference from a component of the earlier fit
    predicts nothing (Akaike's criterion) are merged into it, the others become new components. At most
    ``settings.n_components`` are left.

    Parameters
    ----------
    earlier : SufficientStatistics
        Of the earlier fit, no component empty.
    alpha : float
        Its concentration.
    n_clusters : int
        Of the new patches, at most.
    """
    clustering = replace(settings, n_components=n_clusters)
    centres, sample = _centres(batches, clustering, progress)
    clusters = _statistics(batches, sample.n_patches, centres.to(device), settings).to("cpu")
    both = side_by_side([earlier, clusters])
    group = alike_groups(
        both, settings.covariance, settings.effective_regularisation, settings.n_components, "akaike"
    )
    n_before, n_after = len(earlier.responsibilities), int(group.max()) + 1
    logger.info("%d components before, %d with the new scans", n_before, n_after)
    without_new = side_by_side([earlier, clusters.scaled(0.0)])
    parameters, order = parameters_of(grouped(both, group).to(device), settings, alpha)
    return FitPoint.first(
        parameters,
        n_patches=int(both.n_patches),
        largest_batch=sample.largest_batch,
        earlier=grouped(without_new, group).to(device).reordered(order),
    )


def _statistics(
    batches: Iterable[torch.Tensor], n_patches: int, centres: torch.Tensor, settings: DpmmSettings
) -> SufficientStatistics:
    """Return the statistics of all batches, each patch in the cluster of the nearest centre (k, d); none is empty."""
    total = sum_over(batches, _cluster_statistics, centres, settings.covariance)
    if total is None or total.n_patches != n_patches:
        raise changed_data(n_patches, total)
    return _not_empty(total)


def _statistics_of_sample(
    patches: torch.Tensor, centres: torch.Tensor, settings: DpmmSettings
) -> SufficientStatistics:
    """Return the statistics of patches (n, d) of unit length; see `_statistics`."""
    chunks = in_chunks(patches, 16 * patches.shape[1], cache_budget(patches.device))
    parts = (_nearest_statistics(chunk, centres, settings.covariance) for chunk in chunks)
    return _not_empty(reduce(operator.add, parts))


def _not_empty(clusters: SufficientStatistics) -> SufficientStatistics:
    return clusters.reordered((clusters.responsibilities > 0).nonzero().squeeze(1))


def _centres(
    batches: Iterable[torch.Tensor], settings: DpmmSettings, progress: Progress | None
) -> tuple[torch.Tensor, PatchSample]:
    """Return the centres (k, d) of k-means clusters of a sample, and the sample at unit length."""
    generator = seeded_generator(settings.seed)
    size = settings.n_components * settings.start_patches_per_component
    sample = sample_patches(batches, size, generator, progress)
    patches = sample.patches
    # It is the largest thing in memory: no second one beside it.
    for chunk in in_chunks(patches, 8 * patches.shape[1]):
        chunk.copy_(unit_length(chunk))
    report(progress, CLUSTERING, 1, 3)
    if settings.start == "k-means++":
        seeds = patches[k_means_plus_plus(patches, settings.n_components, generator)]
    else:
        step = max(1, len(patches) // (SPLIT_PATCHES_PER_COMPONENT * settings.n_components))
        seeds = principal_splits(patches[::step], settings.n_components)
    report(progress, CLUSTERING, 2, 3)
    centres = k_means(patches, seeds, settings.start_iterations)
    report(progress, CLUSTERING, 3, 3)
    return centres, sample


def _cluster_statistics(
    batch: torch.Tensor, centres: torch.Tensor, covariance: CovarianceType
) -> SufficientStatistics:
    """Return the statistics of a batch's patches, each in the cluster of the nearest centre (k, d)."""
    return _nearest_statistics(unit_patches(batch, centres.shape[1], centres.device), centres, covariance)


def _nearest_statistics(
    x: torch.Tensor, centres: torch.Tensor, covariance: CovarianceType
) -> SufficientStatistics:
    labels, _ = nearest_centres(x.to(centres.dtype), centres)
    return hard_statistics(x, labels, len(centres), covariance)


def parameters_of(
    statistics: SufficientStatistics, settings: DpmmSettings, alpha: float
) -> tuple[DpmmParameters, torch.Tensor]:
    """Return the parameters that statistics of a first division of the patches give, and their components' order."""
    means, covariances = gaussians(statistics, settings.covariance, settings.effective_regularisation)
    mean_responsibilities = statistics.responsibilities / statistics.n_patches
    sticks = update_sticks(mean_responsibilities, statistics.n_patches, alpha)
    order = sticks.order
    mixture = Mixture(log_weights(sticks.sticks), means[order], covariances[order], settings.covariance)
    return DpmmParameters(mixture, sticks.sticks, alpha, mean_responsibilities[order]), order

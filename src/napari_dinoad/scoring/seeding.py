"""k-means++ and Lloyd's iterations: where a mixture starts, and how a memory bank is thinned."""

from __future__ import annotations

import heapq
import math

import torch

from napari_dinoad.scoring.patches import cache_budget, in_chunks

__all__ = ["greedy_k_centre", "k_means", "k_means_plus_plus", "nearest_centres", "principal_splits"]

POWER_ITERATIONS = 10
"""Enough for a direction of large spread; it need not be the very largest."""

AXIS_ROWS = 256
"""So many rows of a group, evenly spaced, are enough to tell its principal axis."""

ROUNDINGS = 4
"""A spread of so many roundings of the squares it is the difference of is none."""

FLAT = 1e-9
"""A group with less than this share of all squares is not cut further."""


def k_means_plus_plus(patches: torch.Tensor, n_centres: int, generator: torch.Generator) -> torch.Tensor:
    """Choose up to ``n_centres`` rows far from each other (greedy k-means++: Arthur and Vassilvitskii, SODA 2007).

    Of 2 + log k rows, drawn with a probability that grows with the squared distance to the rows chosen so far, the
    one that leaves the least total distance is next.

    Parameters
    ----------
    patches : torch.Tensor
        (n, d) float, on the CPU.

    Returns
    -------
    torch.Tensor
        (k,) int64 row indices; fewer than asked for when there are fewer distinct rows.
    """
    squared = patches.square().sum(-1)
    rounding = _distance_rounding(squared)
    n_trials = 2 + int(math.log(n_centres))

    def distances(rows: torch.Tensor) -> torch.Tensor:
        products = patches[rows] @ patches.T
        apart = squared + squared[rows][:, None] - 2 * products
        return torch.where(apart > rounding, apart, 0.0)

    chosen = [int(torch.randint(len(patches), (1,), generator=generator))]
    nearest = distances(torch.tensor(chosen))[0]
    while len(chosen) < n_centres:
        cumulative = nearest.to(torch.float64).cumsum(0)
        if float(cumulative[-1]) <= 0:
            break
        draws = torch.rand(n_trials, dtype=torch.float64, generator=generator) * cumulative[-1]
        trials = torch.searchsorted(cumulative, draws, right=True).clamp_max(len(patches) - 1)
        left = torch.minimum(nearest, distances(trials))
        best = int(left.sum(1, dtype=torch.float64).argmin())
        nearest = left[best]
        chosen.append(int(trials[best]))
    return torch.tensor(chosen)


def principal_splits(patches: torch.Tensor, n_centres: int) -> torch.Tensor:
    """Return up to ``n_centres`` means (k, d) of groups, halved again and again; nothing in it is random.

    The group with the largest sum of squared distances to its mean is cut through the mean, across its principal axis
    (PCA-Part: Su and Dy, Intelligent Data Analysis 11, 2007).
    """

    def weighed(own: torch.Tensor, number: int) -> tuple[float, int, torch.Tensor, torch.Tensor]:
        mean = own.mean(0)
        spread = _sum_of_squares(own) - len(own) * _sum_of_squares(mean[None])
        return -spread, number, own, mean

    whole = weighed(patches, 0)
    # Differences that are only rounding make no group.
    rounding = ROUNDINGS * torch.finfo(patches.dtype).eps * _sum_of_squares(patches)
    least = FLAT * -whole[0] + rounding
    groups, n_cuts = [whole], 0
    while len(groups) < n_centres and -groups[0][0] > least:
        _, number, own, mean = heapq.heappop(groups)
        some = own[:: -(-len(own) // AXIS_ROWS)] - mean
        axis = some[int(some.square().sum(1).argmax())]
        for _ in range(POWER_ITERATIONS):
            axis = some.T @ (some @ axis)
            axis = axis / torch.linalg.vector_norm(axis).clamp_min(torch.finfo(axis.dtype).tiny)
        above = own @ axis > mean @ axis
        if not bool(above.any()) or bool(above.all()):
            heapq.heappush(groups, (0.0, number, own, mean))
            continue
        for side in (above, ~above):
            n_cuts += 1
            heapq.heappush(groups, weighed(own[side.nonzero().squeeze(1)], n_cuts))
    return torch.stack([mean for _, _, _, mean in groups])


def _sum_of_squares(rows: torch.Tensor) -> float:
    lengths: torch.Tensor = torch.linalg.vector_norm(rows, dim=1)
    return float(lengths.to(torch.float64).square().sum())


def nearest_centres(patches: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the index of the nearest centre (n,) and the squared distance to it (n,), as matrix products."""
    offset = centres.square().sum(-1)
    labels = torch.empty(len(patches), dtype=torch.int64, device=patches.device)
    distances = patches.new_empty(len(patches))
    first, partial = 0, None
    for chunk in in_chunks(patches, 8 * len(centres), cache_budget(patches.device)):
        # One block of memory for all chunks: anew for each, they leave holes that no other fits.
        partial = patches.new_empty(len(chunk), len(centres)) if partial is None else partial[: len(chunk)]
        torch.addmm(offset, chunk, centres.T, alpha=-2, out=partial)
        least, label = _least(partial)
        own = slice(first, first + len(chunk))
        labels[own] = label
        distances[own] = (least + torch.linalg.vector_norm(chunk, dim=-1).square()).clamp_min(0)
        first = own.stop
    return labels, distances


def _least(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the smallest number of each row (n,), and where it is first (n,); on the CPU NumPy is far faster."""
    if values.device.type != "cpu":
        least, place = values.min(-1)
        return least, place
    place = torch.from_numpy(values.numpy().argmin(-1))
    return values.gather(-1, place[:, None]).squeeze(-1), place


def k_means(patches: torch.Tensor, centres: torch.Tensor, n_iterations: int) -> torch.Tensor:
    """Return ``centres`` (k, d) after Lloyd's iterations; a centre without patches stays where it is."""
    for _ in range(n_iterations):
        labels, _ = nearest_centres(patches, centres)
        counts = torch.bincount(labels, minlength=len(centres))
        sums = torch.zeros_like(centres).index_add_(0, labels, patches)
        moved = torch.where(counts[:, None] > 0, sums / counts.clamp_min(1)[:, None], centres)
        if torch.equal(moved, centres):
            break
        centres = moved
    return centres


def greedy_k_centre(patches: torch.Tensor, n_centres: int, generator: torch.Generator) -> torch.Tensor:
    """Return rows (k,) int64 such that each next one is the row farthest from all before (a 2-approximation).

    Fewer than ``n_centres`` come back when there are fewer distinct rows.
    """
    squared = patches.square().sum(-1)
    rounding = _distance_rounding(squared)
    chosen = [int(torch.randint(len(patches), (1,), generator=generator))]
    nearest = torch.full_like(squared, torch.inf)
    for _ in range(n_centres - 1):
        centre = chosen[-1]
        nearest = torch.minimum(nearest, squared + squared[centre] - 2 * (patches @ patches[centre]))
        farthest = int(nearest.argmax())
        if float(nearest[farthest]) <= rounding:
            break
        chosen.append(farthest)
    return torch.tensor(chosen)


def _distance_rounding(squared_norms: torch.Tensor) -> float:
    """Return the size below which |x|² − 2xc + |c|² is rounding: two rows that close are taken as the same."""
    finfo = torch.finfo(squared_norms.dtype)
    return 8 * finfo.eps * max(float(squared_norms.max()), finfo.tiny)

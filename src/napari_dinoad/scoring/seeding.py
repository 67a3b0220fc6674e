"""k-means++ and Lloyd's iterations: where a mixture starts, and how a memory bank is thinned."""

from __future__ import annotations

import torch

from napari_dinoad.scoring.patches import in_chunks

__all__ = ["greedy_k_centre", "k_means", "k_means_plus_plus", "nearest_centres"]


def k_means_plus_plus(patches: torch.Tensor, n_centres: int, generator: torch.Generator) -> torch.Tensor:
    """Choose up to ``n_centres`` rows, each with a probability that grows with its squared distance to the others.

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
    first = int(torch.randint(len(patches), (1,), generator=generator))
    chosen = [first]
    nearest = torch.full_like(squared, torch.inf)
    for _ in range(n_centres - 1):
        centre = chosen[-1]
        distance = squared + squared[centre] - 2 * (patches @ patches[centre])
        nearest = torch.minimum(nearest, torch.where(distance > rounding, distance, 0.0))
        cumulative = nearest.to(torch.float64).cumsum(0)
        if float(cumulative[-1]) <= 0:
            break
        draw = torch.rand(1, dtype=torch.float64, generator=generator) * cumulative[-1]
        chosen.append(int(torch.searchsorted(cumulative, draw, right=True).clamp_max(len(patches) - 1)))
    return torch.tensor(chosen)


def nearest_centres(patches: torch.Tensor, centres: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the index of the nearest centre (n,) and the squared distance to it (n,), as matrix products."""
    offset = centres.square().sum(-1)
    labels, distances = [], []
    for chunk in in_chunks(patches, 8 * len(centres)):
        partial = torch.addmm(offset, chunk, centres.T, alpha=-2)
        least, label = partial.min(-1)
        labels.append(label)
        distances.append((least + chunk.square().sum(-1)).clamp_min(0))
    return torch.cat(labels), torch.cat(distances)


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

"""What a slice looks like: the mean embedding of its body in each of 4 × 4 parts of the model input."""

from __future__ import annotations

from functools import lru_cache

import torch

__all__ = ["looks_of"]

PARTS = 4
"""Along each side of the model input."""

_LEAST_BODY = 1e-6


def looks_of(embeddings: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    """Return the looks (n, `PARTS`² d) float32 of slices.

    A part with hardly any body has the mean of the whole slice.

    Parameters
    ----------
    embeddings : torch.Tensor
        (n, gh, gw, d) float32.
    body : torch.Tensor
        (n, gh, gw) float32, how much of each patch is body.
    """
    n, gh, gw, d = embeddings.shape
    rows, columns = (_parts(side).to(embeddings.device) for side in (gh, gw))
    weighted = (embeddings * body[..., None]).reshape(n, gh, gw * d)
    across = (rows @ weighted).reshape(n * PARTS, gw, d)
    sums = (columns @ across).reshape(n, PARTS * PARTS, d)
    counts = (rows @ body @ columns.T).reshape(n, PARTS * PARTS, 1)
    whole = sums.sum(1, keepdim=True) / counts.sum(1, keepdim=True).clamp_min(_LEAST_BODY)
    trust = (counts * (PARTS * PARTS * PARTS / (gh * gw))).clamp_max(1.0)
    parts = trust * sums / counts.clamp_min(_LEAST_BODY) + (1 - trust) * whole
    return parts.reshape(n, -1)


@lru_cache(maxsize=8)
def _parts(side: int) -> torch.Tensor:
    """Return how much (PARTS, side) float32 of each patch along a side lies in each part."""
    edges = torch.arange(side + 1, dtype=torch.float64) * (PARTS / side)
    begins = torch.arange(PARTS, dtype=torch.float64)[:, None]
    overlap = torch.minimum(edges[1:], begins + 1) - torch.maximum(edges[:-1], begins)
    return (overlap.clamp_min(0.0) * (side / PARTS)).float()

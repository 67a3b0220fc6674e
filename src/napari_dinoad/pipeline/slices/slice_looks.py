"""What a slice looks like: the mean embedding of its body in each of 4 × 4 parts of the model input."""

from __future__ import annotations

import torch
from torch.nn.functional import adaptive_avg_pool2d

__all__ = ["looks_of"]

PARTS = 4
"""Along each side of the model input; where it has no multiple of four patches, neighbouring parts share some."""

_LEAST_BODY = 1e-6


def looks_of(embeddings: torch.Tensor, body: torch.Tensor) -> torch.Tensor:
    """Return the looks (n, d `PARTS`²) float32 of slices.

    A part with hardly any body (less than a quarter of it) has in part, or wholly, the mean of the whole slice.

    Parameters
    ----------
    embeddings : torch.Tensor
        (n, gh, gw, d) float32.
    body : torch.Tensor
        (n, gh, gw) float32, how much of each patch is body.
    """
    n, _, _, d = embeddings.shape
    weighted = (embeddings * body[..., None]).movedim(-1, 1)
    share = body[:, None]
    of_parts, whole = adaptive_avg_pool2d(share, PARTS), share.mean((2, 3), keepdim=True)
    parts = adaptive_avg_pool2d(weighted, PARTS).div_(of_parts.clamp_min(_LEAST_BODY))
    mean = weighted.mean((2, 3), keepdim=True).div_(whole.clamp_min(_LEAST_BODY))
    return torch.lerp(mean, parts, (PARTS * of_parts).clamp_max_(1.0)).reshape(n, PARTS * PARTS * d)

"""What a slice looks like: the mean embedding of its body in each of 4 × 4 parts of the model input."""

from __future__ import annotations

import math
from functools import lru_cache

import torch

from napari_dinoad.machine.sending import on_device

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
    n, gh, gw, d = embeddings.shape
    weights = _averages(gh, gw, embeddings.device) * body.reshape(n, 1, gh * gw)
    of_body = weights.sum(2, keepdim=True)
    means = (weights @ embeddings.reshape(n, gh * gw, d)).div_(of_body.clamp_min(_LEAST_BODY))
    parts, whole = means[:, 1:], means[:, :1]
    looks = torch.lerp(whole, parts, (PARTS * of_body[:, 1:]).clamp_max_(1.0))
    return looks.transpose(1, 2).reshape(n, PARTS * PARTS * d)


@lru_cache(maxsize=8)
def _averages(gh: int, gw: int, device: torch.device) -> torch.Tensor:
    """Return the matrix (1 + `PARTS`², gh·gw) float32 that takes the mean of all patches, and of each part's.

    As a product, since PyTorch's adaptive pooling refuses on Apple's MPS grids that `PARTS` does not divide.
    """
    parts = torch.kron(_averages_along(gh), _averages_along(gw))
    return on_device(torch.cat([torch.full((1, gh * gw), 1 / (gh * gw)), parts]), device)


def _averages_along(size: int) -> torch.Tensor:
    """Return the matrix (`PARTS`, size) that takes the mean of each part along one side."""
    averages = torch.zeros(PARTS, size)
    for i in range(PARTS):
        part = slice(i * size // PARTS, math.ceil((i + 1) * size / PARTS))
        averages[i, part] = 1 / (part.stop - part.start)
    return averages

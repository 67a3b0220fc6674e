"""Small sets of embeddings."""

from __future__ import annotations

import pytest
import torch


def clustered_maps(n_maps, grid, n_channels, n_clusters, spread, seed):
    """Maps (n, gh, gw, d) of patches around random unit vectors."""
    generator = torch.Generator().manual_seed(seed)
    centres = torch.nn.functional.normalize(torch.randn(n_clusters, n_channels, generator=generator), dim=1)
    labels = torch.randint(0, n_clusters, (n_maps, *grid), generator=generator)
    noise = torch.randn(n_maps, *grid, n_channels, generator=generator) * spread / n_channels**0.5
    return centres[labels] + noise


def smooth_maps(n_maps, grid, n_channels, seed, field_seed=0):
    """Maps whose neighbouring patches are alike: a few smooth fields, mixed into channels, with a little noise."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(6, n_channels, generator=torch.Generator().manual_seed(field_seed))
    coarse = torch.randn(n_maps, 6, 5, 5, generator=generator)
    fields = torch.nn.functional.interpolate(coarse, grid, mode="bicubic", align_corners=True)
    noise = 0.05 * torch.randn(n_maps, *grid, n_channels, generator=generator)
    return torch.einsum("nfhw,fd->nhwd", fields, mixing) + noise


@pytest.fixture(scope="session")
def make_clustered():
    return clustered_maps


@pytest.fixture(scope="session")
def make_smooth():
    return smooth_maps

"""A slice looks like the mean embeddings of its parts."""

from __future__ import annotations

import pytest
import torch

from napari_dinoad.pipeline.slices.slice_looks import looks_of


def test_a_look_is_the_mean_of_each_part_of_the_body():
    rng = torch.Generator().manual_seed(0)
    embeddings, body = torch.rand(2, 8, 8, 3, generator=rng), torch.rand(2, 8, 8, generator=rng) + 0.3
    looks = looks_of(embeddings, body).reshape(2, 3, 4, 4)
    own, weights = embeddings[1, 2:4, 6:8], body[1, 2:4, 6:8, None]
    torch.testing.assert_close(looks[1, :, 1, 3], (own * weights).sum((0, 1)) / weights.sum())


def test_a_part_without_body_looks_like_the_whole():
    embeddings, body = torch.rand(1, 8, 8, 3), torch.zeros(1, 8, 8)
    body[0, :2, :2] = 1
    looks = looks_of(embeddings, body).reshape(3, 16)
    whole = embeddings[0, :2, :2].mean((0, 1))
    torch.testing.assert_close(looks, whole[:, None].expand(3, 16))


@pytest.mark.parametrize("shape", [(37, 37), (6, 9), (3, 4), (1, 1)])
def test_any_grid_will_do(shape):
    """What is the same everywhere stays so."""
    even = looks_of(torch.full((1, *shape, 2), 0.7), torch.ones(1, *shape))
    torch.testing.assert_close(even, torch.full((1, 32), 0.7))


def test_no_body_at_all_is_no_fault():
    assert looks_of(torch.rand(1, 8, 8, 3), torch.zeros(1, 8, 8)).isfinite().all()

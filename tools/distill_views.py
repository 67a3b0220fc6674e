"""Views of a picture for self-distillation: crops of random place, size and grey curve, and hidden patches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn.functional import affine_grid, grid_sample

__all__ = ["Views", "hidden_patches", "random_views"]


@dataclass(frozen=True)
class Views:
    """Crops (n, side, side) float32 in [0, 1], and their boxes (n, 4): top, left, height, width as shares."""

    images: torch.Tensor
    boxes: torch.Tensor


def random_views(
    pictures: torch.Tensor, side_px: int, area: tuple[float, float], generator: torch.Generator
) -> Views:
    """Cut one random square view from each picture.

    Grey levels change little (a gamma, a gain, noise, some blur): what is bright among its surroundings is what the
    embedding must keep, and so is how rough it is.

    Parameters
    ----------
    pictures : torch.Tensor
        (n, H, W) float32 in [0, 1].
    side_px : int
        Of the view.
    area : tuple of float
        Smallest and largest share of the picture that a view covers.
    """
    n, device = len(pictures), pictures.device

    def uniform(low: float, high: float) -> torch.Tensor:
        return low + (high - low) * torch.rand(n, generator=generator, device=device)

    side = uniform(*area).sqrt()
    aspect = uniform(-0.15, 0.15).exp()
    height, width = (side * aspect).clamp(max=1), (side / aspect).clamp(max=1)
    top, left = uniform(0, 1) * (1 - height), uniform(0, 1) * (1 - width)
    mirrored = torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    turn = uniform(-0.2, 0.2)
    # From the view's coordinates in [-1, 1] to the picture's.
    theta = torch.zeros(n, 2, 3, device=device)
    theta[:, 0, 0], theta[:, 0, 1] = width * mirrored * turn.cos(), -width * turn.sin()
    theta[:, 1, 0], theta[:, 1, 1] = height * mirrored * turn.sin(), height * turn.cos()
    theta[:, 0, 2], theta[:, 1, 2] = 2 * left + width - 1, 2 * top + height - 1
    grid = affine_grid(theta, [n, 1, side_px, side_px], align_corners=False)
    images = grid_sample(pictures[:, None], grid, padding_mode="border", align_corners=False)[:, 0]
    gamma, gain = uniform(-0.25, 0.25).exp(), uniform(0.85, 1.1)
    images = (images.clamp_min(0) ** gamma[:, None, None]) * gain[:, None, None]
    noise = uniform(-0.03, 0.03).clamp_min(0)
    images = images + noise[:, None, None] * torch.randn(images.shape, generator=generator, device=device)
    blurred = torch.nn.functional.avg_pool2d(images[:, None], 3, 1, 1, count_include_pad=False)[:, 0]
    images = torch.where((uniform(0, 1) < 0.15)[:, None, None], blurred, images)
    return Views(images.clamp(0, 1), torch.stack([top, left, height, width], 1))


def hidden_patches(n: int, grid: int, share: tuple[float, float], generator: torch.Generator) -> torch.Tensor:
    """Return which patches (n, grid, grid) of each view are hidden: those where smooth noise is highest."""
    noise = torch.randn(n, 1, grid + 2, grid + 2, generator=generator, device=generator.device)
    smooth = torch.nn.functional.avg_pool2d(noise, 3, 1)[:, 0].flatten(1)
    rank = smooth.argsort(1).argsort(1).float() / smooth.shape[1]
    limits = share[0] + (share[1] - share[0]) * torch.rand(n, 1, generator=generator, device=generator.device)
    none = torch.rand(n, 1, generator=generator, device=generator.device) < 0.5
    return ((rank < limits) & ~none).reshape(n, grid, grid)

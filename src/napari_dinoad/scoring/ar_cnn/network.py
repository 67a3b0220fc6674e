"""The networks of the AR-CNN scorer: each predicts a patch's embedding from patches around it, never from itself.

A convolution is told its live taps; those outside never enter a product with a learned value.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from napari_dinoad.settings import ArCnnContext, ArCnnSettings

__all__ = ["PaperNetwork", "RingsNetwork", "TapConvolution", "dilations_for", "make_network"]

Taps = Sequence[tuple[int, int]]

CENTRE: Taps = ((0, 0),)
EARLIER: Taps = ((-1, -1), (-1, 0), (-1, 1), (0, -1))
"""The four neighbours before a patch in raster order."""
RING: Taps = (*EARLIER, (0, 1), (1, -1), (1, 0), (1, 1))
RING_SHARES = (1 / 9, 2 / 9)
"""Distances of the rings, of the grid's shorter side: best on real slices at 16 and at 28 patches, of those tried."""

MIRROR_SHARE = 1 / 18
"""Distance of the patches around the mirrored place, of the grid's shorter side: heads are seldom quite upright."""

MIRROR_GAP = 2
"""The nearest patches around the mirrored place lie at least so far from the patch itself."""

PAPER_LAYERS = 5


class TapConvolution(nn.Module):
    """A convolution with given live taps, zero outside the grid; the grid keeps its size.

    The kernel is the taps' bounding box (a causal one has two rows, not three); dead taps inside it are held at zero.

    Parameters
    ----------
    n_in, n_out : int
        Channels.
    taps : sequence of (dy, dx)
        Live taps in −1 … 1, in steps of ``dilation``.
    dilation : int
        Patches in a step.
    """

    live: torch.Tensor

    def __init__(self, n_in: int, n_out: int, taps: Taps, dilation: int = 1) -> None:
        super().__init__()
        rows, columns = [dy for dy, _ in taps], [dx for _, dx in taps]
        top, bottom, left, right = min(*rows, 0), max(*rows, 0), min(*columns, 0), max(*columns, 0)
        self.dilation = dilation
        self.n_live = len(taps)
        self.padding = (-left * dilation, right * dilation, -top * dilation, bottom * dilation)
        live = torch.zeros(1, 1, bottom - top + 1, right - left + 1)
        for dy, dx in taps:
            live[0, 0, dy - top, dx - left] = 1
        self.register_buffer("live", live, persistent=False)
        self.weight = nn.Parameter(torch.empty(n_out, n_in, *live.shape[2:]))
        self.bias = nn.Parameter(torch.empty(n_out))

    def reset(self, generator: torch.Generator) -> None:
        """Draw uniform weights of variance 1/(3 · inputs), as is usual, and zero biases."""
        bound = 1 / math.sqrt(self.weight.shape[1] * self.n_live)
        with torch.no_grad():
            self.weight.copy_(torch.rand(self.weight.shape, generator=generator).mul_(2 * bound).sub_(bound))
            self.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (n, n_in, gh, gw) to (n, n_out, gh, gw)."""
        if any(self.padding):
            x = functional.pad(x, self.padding)
        return functional.conv2d(x, self.weight * self.live, self.bias, dilation=self.dilation)


class RingsNetwork(nn.Module):
    """A 1×1 bottleneck, rings of eight neighbours at several distances, then 1×1 layers only.

    The only layer that looks sideways leaves the patch itself out, so nothing leaks it. The bottleneck's bias makes
    the zero that stands outside the grid a learned value. In causal mode the rings hold their earlier halves only.

    With ``mirror_dilation`` it also looks at the mirrored place, left for right, and at eight patches so far around
    it. Near the middle, where these would come close to the patch itself, it does not.
    """

    def __init__(
        self,
        n_channels: int,
        n_bottleneck: int,
        n_hidden: int,
        dilations: Sequence[int],
        context: ArCnnContext,
        mirror_dilation: int | None = None,
    ) -> None:
        super().__init__()
        taps = RING if context == "two-sided" else EARLIER
        self.reduce = TapConvolution(n_channels, n_bottleneck, CENTRE)
        self.rings = nn.ModuleList(TapConvolution(n_bottleneck, n_hidden, taps, d) for d in dilations)
        self.mirror = (
            None
            if mirror_dilation is None
            else TapConvolution(n_bottleneck, n_hidden, (*RING, *CENTRE), mirror_dilation)
        )
        self.mix = TapConvolution(n_hidden, n_hidden, CENTRE)
        self.expand = TapConvolution(n_hidden, n_channels, CENTRE)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict (n, d, gh, gw) from (n, d, gh, gw)."""
        neighbours = self.reduce(x)
        hidden = torch.stack([ring(neighbours) for ring in self.rings]).sum(0)
        if self.mirror is not None:
            hidden = hidden + self.mirror(neighbours.flip(3)) * self._is_far(self.mirror.dilation, x)
        hidden = functional.gelu(hidden)
        hidden = hidden + functional.gelu(self.mix(hidden))
        prediction: torch.Tensor = self.expand(hidden)
        return prediction

    @staticmethod
    def _is_far(dilation: int, x: torch.Tensor) -> torch.Tensor:
        """Return 1 for columns (gw,) far enough from the mirrored ones, else 0, like ``x`` (n, d, gh, gw)."""
        columns = torch.arange(x.shape[3], device=x.device)
        apart = (x.shape[3] - 1 - 2 * columns).abs()
        return (apart >= dilation + MIRROR_GAP).to(x.dtype)


class _CausalStack(nn.Module):
    """Five masked 3×3 convolutions: the first sees earlier patches only, the others also their own place."""

    def __init__(self, n_channels: int, n_hidden: int, dilations: Sequence[int]) -> None:
        super().__init__()
        widths = [n_channels, *[n_hidden] * (PAPER_LAYERS - 1), n_channels]
        self.layers = nn.ModuleList(
            TapConvolution(widths[i], widths[i + 1], EARLIER if i == 0 else (*EARLIER, *CENTRE), dilations[i])
            for i in range(PAPER_LAYERS)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index < PAPER_LAYERS - 1:
                x = functional.relu(x)
        return x


class PaperNetwork(nn.Module):
    """The network of arXiv 2603.02974; two-sided adds a second one that runs from the other corner.

    Each of the two sees only what lies before the patch in its own direction, so their sum sees all but the patch.
    (The authors' bidirectional mode lets the centre through after the first layer.)
    """

    def __init__(
        self, n_channels: int, n_hidden: int, dilations: Sequence[int], context: ArCnnContext
    ) -> None:
        super().__init__()
        dilations = tuple(dilations) * PAPER_LAYERS if len(dilations) == 1 else tuple(dilations)
        self.forwards = _CausalStack(n_channels, n_hidden, dilations)
        self.backwards = _CausalStack(n_channels, n_hidden, dilations) if context == "two-sided" else None

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Predict (n, d, gh, gw) from (n, d, gh, gw)."""
        prediction: torch.Tensor = self.forwards(x)
        if self.backwards is not None:
            prediction = prediction + self.backwards(x.flip(2, 3)).flip(2, 3)
        return prediction


def dilations_for(settings: ArCnnSettings, grid: tuple[int, int]) -> tuple[int, ...]:
    """Return the distances of the rings on a grid of patches (gh, gw), ascending where the settings name none."""
    if settings.dilations is not None:
        return settings.dilations
    shares = RING_SHARES if settings.network == "rings" else RING_SHARES[:1]
    return tuple(sorted({max(1, int(share * min(grid) + 0.5)) for share in shares}))


def mirror_dilation_for(settings: ArCnnSettings, grid: tuple[int, int]) -> int | None:
    """Return how far around the mirrored place rings look on a grid (gh, gw); None where they do not look there."""
    if not settings.mirrored or settings.context == "causal":
        return None
    return max(1, int(MIRROR_SHARE * min(grid) + 0.5))


def make_network(
    settings: ArCnnSettings, n_channels: int, grid: tuple[int, int], generator: torch.Generator
) -> RingsNetwork | PaperNetwork:
    """Return the network that ``settings`` describe, freshly drawn.

    Parameters
    ----------
    settings : ArCnnSettings
    n_channels : int
        Of the embeddings, d.
    grid : tuple of int
        Patches (gh, gw) of the embeddings that it is trained on.
    generator : torch.Generator
    """
    dilations = dilations_for(settings, grid)
    network: RingsNetwork | PaperNetwork
    if settings.network == "rings":
        # An affine map of d channels spans d + 1 dimensions at most: a wider layer costs time and adds nothing.
        network = RingsNetwork(
            n_channels,
            min(settings.bottleneck_channels, n_channels + 1),
            settings.hidden_channels,
            dilations,
            settings.context,
            mirror_dilation_for(settings, grid),
        )
    else:
        network = PaperNetwork(n_channels, settings.hidden_channels, dilations, settings.context)
    for module in network.modules():
        if isinstance(module, TapConvolution):
            module.reset(generator)
    return network.to(memory_format=torch.channels_last)

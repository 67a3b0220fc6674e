"""A small vision transformer for grey slices, of a size that could ship with the package, and its DINO head."""

from __future__ import annotations

import itertools
import math
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import Block
from torch import nn

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["DinoHead", "NetworkPlan", "SmallVit", "load_network", "save_network"]


@dataclass(frozen=True)
class NetworkPlan:
    """Sizes of a network; the patch is 16 px."""

    dim: int = 192
    depth: int = 6
    heads: int = 3
    mlp_ratio: float = 3.0


class SmallVit(nn.Module):
    """A transformer on tokens from four small strided convolutions, one for each 16 px patch.

    Convolutions in place of one large linear patch embedding make small transformers train in far fewer steps
    (Xiao et al., *Early convolutions help transformers see better*, NeurIPS 2021). Positions are sines and cosines
    of the patch's place in the slice, so that any grid works. There is no class token: what a whole view holds is
    the mean of its patch tokens, which says something from the first step on.
    """

    patch_px = 16

    def __init__(self, plan: NetworkPlan) -> None:
        super().__init__()
        self.plan = plan
        widths = [1, *(plan.dim // 2**i for i in (3, 2, 1, 0))]
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise(widths):
            layers += [nn.Conv2d(n_in, n_out, 3, stride=2, padding=1, padding_mode="replicate"), nn.GELU()]
        self.stem = nn.Sequential(*layers, nn.Conv2d(plan.dim, plan.dim, 1))
        self.mask_token = nn.Parameter(torch.zeros(plan.dim))
        self.position = nn.Linear(4 * 8, plan.dim)
        self.blocks = nn.ModuleList(
            Block(plan.dim, plan.heads, plan.mlp_ratio, qkv_bias=True, init_values=0.1)
            for _ in range(plan.depth)
        )
        self.norm = nn.LayerNorm(plan.dim)

    def forward(
        self, images: torch.Tensor, boxes: torch.Tensor, hidden: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the mean tokens (n, d) and the patch tokens (n, gh, gw, d).

        Parameters
        ----------
        images : torch.Tensor
            (n, H, W) float32 in [0, 1], sides multiples of 16.
        boxes : torch.Tensor
            (n, 4): top, left, height, width of the image in the slice that it is cut from, as shares of it.
        hidden : torch.Tensor, optional
            (n, gh, gw) bool: patches that are replaced by the mask token.
        """
        tokens = self.stem((images[:, None] - 0.25) * 4).permute(0, 2, 3, 1)
        if hidden is not None:
            tokens = torch.where(hidden[..., None], self.mask_token.to(tokens.dtype), tokens)
        n, gh, gw, d = tokens.shape
        tokens = tokens + self.position(_waves(boxes, gh, gw))
        x = tokens.reshape(n, gh * gw, d)
        for block in self.blocks:
            x = block(x)
        x = self.norm(x)
        return x.mean(1), x.reshape(n, gh, gw, d)


def _waves(boxes: torch.Tensor, gh: int, gw: int) -> torch.Tensor:
    """Return sines and cosines (n, gh, gw, 32) of each patch's centre in the whole slice."""
    top, left, height, width = boxes.T
    rows = top[:, None] + height[:, None] * (torch.arange(gh, device=boxes.device) + 0.5) / gh
    columns = left[:, None] + width[:, None] * (torch.arange(gw, device=boxes.device) + 0.5) / gw
    frequencies = math.pi * 2.0 ** torch.arange(8, device=boxes.device) / 2
    parts = []
    for places, shape in ((rows, (-1, gh, 1)), (columns, (-1, 1, gw))):
        angles = places[..., None] * frequencies
        wave = torch.cat([angles.sin(), angles.cos()], -1)  # (n, g, 16)
        parts.append(wave.reshape(*shape, 16).expand(-1, gh, gw, 16))
    return torch.cat(parts, -1)


class DinoHead(nn.Module):
    """Three layers, unit length, prototypes of unit length: scores of tokens (n, d) for each prototype.

    Channels are centred and scaled over the batch first: the tokens of an untrained network are all but alike, and
    without that the loss of whole views stayed at that of guessing for 250 steps.
    """

    def __init__(self, dim: int, n_prototypes: int, hidden: int = 512, bottleneck: int = 128) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.BatchNorm1d(dim, affine=False, track_running_stats=False),
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        self.prototypes = nn.Parameter(nn.functional.normalize(torch.randn(n_prototypes, bottleneck), dim=-1))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return cosines (n, prototypes)."""
        unit = nn.functional.normalize(self.layers(tokens), dim=-1)
        return unit @ nn.functional.normalize(self.prototypes, dim=-1).T


def save_network(network: SmallVit, path: Path) -> None:
    """Write the weights in float16 with the plan beside them."""
    state = {name: value.detach().half().contiguous() for name, value in network.state_dict().items()}
    save_file(state, path, {key: str(value) for key, value in asdict(network.plan).items()})


def load_network(path: Path) -> SmallVit:
    """Return a network as it was saved, ready to embed."""
    with safe_open(path, "pt") as file:
        stored = file.metadata()
    sizes = {key: int(stored[key]) for key in ("dim", "depth", "heads")}
    network = SmallVit(NetworkPlan(**sizes, mlp_ratio=float(stored["mlp_ratio"])))
    network.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return network.eval().requires_grad_(False)

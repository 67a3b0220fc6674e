"""The embedded backbone: no DINO. Frozen wavelet scattering for trying out and machines without weights."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import torch

from napari_dinoad.backbones.embedded.colour import (
    colour_constants,
    colour_features,
    colour_length,
    to_luma,
)
from napari_dinoad.backbones.embedded.scattering import ScatteringPlan, scattering_bank
from napari_dinoad.backbones.embeddings import Images, PatchEmbeddings, as_images, grid_of
from napari_dinoad.backbones.memory import PREFERRED_SLICES, MemoryBatches
from napari_dinoad.machine.sending import on_device

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["EmbeddedBackbone", "EmbeddedConstants", "embedded_constants", "log_features"]

_CONSTANTS_FILE = "constants.json"


@dataclass(frozen=True)
class EmbeddedConstants:
    """The frozen numbers of the embedded backbone, written by ``tools/embedded_constants.py``.

    Attributes
    ----------
    version : int
        Grows whenever the computation changes, even where the numbers stay.
    plan : ScatteringPlan
    log_offset : float
        Added to moduli before the logarithm: variation below this share of the intensity range counts as
        none, so that empty background does not stand out.
    default_resolution_px : int
    mean, std : tuple of float
        Of each channel over the images named in the model card.
    sha256 : str
        Of the file's values, hex.
    """

    version: int
    plan: ScatteringPlan
    log_offset: float
    default_resolution_px: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> EmbeddedConstants:
        """Return the constants of the JSON document ``values``."""
        plan: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in values["plan"].items()}
        canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
        return cls(
            version=values["version"],
            plan=ScatteringPlan(**plan),
            log_offset=values["log_offset"],
            default_resolution_px=values["default_resolution_px"],
            mean=tuple(values["mean"]),
            std=tuple(values["std"]),
            sha256=hashlib.sha256(canonical.encode()).hexdigest(),
        )


@cache
def embedded_constants() -> EmbeddedConstants:
    """Return the constants that ship with the package."""
    text = files("napari_dinoad.backbones.embedded").joinpath(_CONSTANTS_FILE).read_text(encoding="utf-8")
    return EmbeddedConstants.from_dict(json.loads(text))


def log_features(images: torch.Tensor, plan: ScatteringPlan, log_offset: float) -> torch.Tensor:
    """Return features (n, gh, gw, channels) before standardisation of images (n, H, W) float32."""
    bank = scattering_bank(plan, images.shape[1], images.shape[2], images.device)
    moduli, means = bank.moduli_and_means(images)
    return torch.cat([torch.log(moduli + log_offset), means], dim=-1)


class EmbeddedBackbone:
    """Log wavelet scattering and local means, each channel standardised by built-in constants, unit length.

    Pictures in colour have those of their grey, and some of their opponent colours besides.

    Parameters
    ----------
    device : torch.device

    Notes
    -----
    No DINO: it sees edges and texture by size and direction, and brightness, but no meaning. Its card is
    ``docs/embedded.md``; how it was chosen is in ``docs/measurements/embedded.md``.
    """

    name = "embedded"
    is_dino = False
    weights_file: Path | None = None
    runtime = "PyTorch, float32"

    def __init__(self, device: torch.device) -> None:
        constants = embedded_constants()
        self.device = device
        self._constants = constants
        self._mean = torch.tensor(constants.mean, dtype=torch.float32, device=device)
        self._std = torch.tensor(constants.std, dtype=torch.float32, device=device)
        of_colour = colour_constants()
        self._colour_sha256 = of_colour.identity(constants.sha256)
        self._colour_mean = torch.tensor(of_colour.mean, dtype=torch.float32, device=device)
        self._colour_std = torch.tensor(of_colour.std, dtype=torch.float32, device=device)
        self._batches = MemoryBatches()

    @property
    def embedding_dim(self) -> int:
        """Length of an embedding of grey."""
        return self._constants.plan.n_channels

    @property
    def colour_embedding_dim(self) -> int:
        """Length of an embedding of colour."""
        return self.embedding_dim + colour_length(self._constants.plan)

    @property
    def patch_size_px(self) -> int:
        """Side of a patch in input pixels."""
        return self._constants.plan.cell_px

    @property
    def default_resolution_px(self) -> int:
        """Side of the square input that it is meant for."""
        return self._constants.default_resolution_px

    @property
    def batch_slices(self) -> int:
        """Slices a call that keep its device busy."""
        return PREFERRED_SLICES.get(self.device.type, 1)

    @property
    def weights_sha256(self) -> str:
        """SHA-256 (hex) of its constants of grey."""
        return self._constants.sha256

    @property
    def colour_weights_sha256(self) -> str:
        """SHA-256 (hex) of its constants of grey and colour; see `ColourConstants.identity`."""
        return self._colour_sha256

    def patch_grid(self, height: int, width: int) -> tuple[int, int]:
        """Return (gh, gw) for inputs of this size; `BackboneError` if it is no multiple of the patch size."""
        return grid_of(self.name, height, width, self.patch_size_px)

    def __call__(self, images: Images) -> PatchEmbeddings:
        """Embed slices (n, H, W), or (n, 3, H, W), with values in [0, 1]; `BackboneError` if they do not fit."""
        tensor = as_images(images)
        grid = self.patch_grid(tensor.shape[-2], tensor.shape[-1])
        if not len(tensor):
            length = self.embedding_dim if tensor.ndim == 3 else self.colour_embedding_dim
            nothing = torch.empty((0, *grid, length), device=self.device)
            return PatchEmbeddings(nothing, self.patch_size_px)
        return PatchEmbeddings(self._batches.run(self._embed, tensor, self.device), self.patch_size_px)

    @torch.no_grad()
    def _embed(self, images: torch.Tensor) -> torch.Tensor:
        plan, log_offset = self._constants.plan, self._constants.log_offset
        slices = on_device(images, self.device)
        is_grey = slices.ndim == 3
        seen = log_features(slices if is_grey else to_luma(slices), plan, log_offset)
        features = (seen - self._mean) / self._std
        if not is_grey:
            colours = colour_features(slices, plan, log_offset)
            features = torch.cat([features, (colours - self._colour_mean) / self._colour_std], dim=-1)
        return torch.nn.functional.normalize(features, dim=-1)

"""What the embedded backbone sees of colours, beside the grey: local means and texture of two opponent channels.

Red less green, and blue less yellow (the mean of red and green), are 0 wherever a picture is grey, and what only
turns the hue changes them alone. How these features were chosen is in ``docs/measurements/embedded.md``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

import torch

from napari_dinoad.backbones.embedded.scattering import ScatteringPlan, scattering_bank

__all__ = ["ColourConstants", "colour_constants", "colour_features", "colour_length", "opponents", "to_luma"]

_CONSTANTS_FILE = "colour_constants.json"

_FIRST_SHA256 = "05486a8cbe4a8043078c9358f49f4b0e7b5adb525597dcde7f86038226df61fb"
"""Of the constants of version 1, before which there was no colour."""

_LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey, as `napari_dinoad.images.values.grey.to_grey` has them."""

_N_OPPONENTS = 2


@dataclass(frozen=True)
class ColourConstants:
    """The frozen numbers of colour, written by ``tools/embedded_colour_constants.py``.

    Attributes
    ----------
    version : int
        Grows whenever the computation changes, even where the numbers stay.
    mean, std : tuple of float
        Of each of `colour_features`.
    sha256 : str
        Of the file's values, hex.
    """

    version: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sha256: str

    def identity(self, of_grey: str) -> str:
        """Return the SHA-256 (hex) of these and of the constants of grey, whose own is ``of_grey``.

        With the first constants of colour it is ``of_grey`` itself: models in colour were fitted before these were
        part of it, and all of them with those.
        """
        if self.sha256 == _FIRST_SHA256:
            return of_grey
        return hashlib.sha256(f"{of_grey} {self.sha256}".encode()).hexdigest()


@cache
def colour_constants() -> ColourConstants:
    """Return the constants that ship with the package."""
    text = files("napari_dinoad.backbones.embedded").joinpath(_CONSTANTS_FILE).read_text(encoding="utf-8")
    values = json.loads(text)
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    sha256 = hashlib.sha256(canonical.encode()).hexdigest()
    return ColourConstants(values["version"], tuple(values["mean"]), tuple(values["std"]), sha256)


def colour_length(plan: ScatteringPlan) -> int:
    """Return the number of `colour_features`."""
    return _N_OPPONENTS * (len(plan.image_sigmas_px) + len(plan.lowpass_sigmas_px) * plan.scales)


def to_luma(images: torch.Tensor) -> torch.Tensor:
    """Return the grey (n, H, W) of colours (n, 3, H, W)."""
    red, green, blue = images.unbind(1)
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def opponents(images: torch.Tensor) -> torch.Tensor:
    """Return red less green and blue less yellow (n, 2, H, W) of colours (n, 3, H, W)."""
    red, green, blue = images.unbind(1)
    return torch.stack([red - green, blue - (red + green) / 2], dim=1)


def colour_features(images: torch.Tensor, plan: ScatteringPlan, log_offset: float) -> torch.Tensor:
    """Return features (n, gh, gw, channels) before standardisation of colours (n, 3, H, W) float32.

    Of red less green, then of blue less yellow: the means over the plan's windows, then the logarithms of moduli by
    (window, scale), averaged over directions.
    """
    bank = scattering_bank(plan, images.shape[2], images.shape[3], images.device)
    n_windows = len(plan.lowpass_sigmas_px)
    parts = []
    for channel in opponents(images).unbind(1):
        moduli, means = bank.moduli_and_means(channel.contiguous())
        texture = torch.log(moduli + log_offset)
        texture = texture.reshape(*texture.shape[:-1], n_windows * plan.scales, plan.angles).mean(-1)
        parts += [means, texture]
    return torch.cat(parts, dim=-1)

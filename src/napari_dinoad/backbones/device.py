"""Which device a backbone runs on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_dinoad.errors import BackboneError

if TYPE_CHECKING:
    from napari_dinoad.settings import Device

__all__ = ["choose_device"]


def choose_device(device: Device = "auto") -> torch.device:
    """Return the device of that name; ``"auto"``: CUDA, then Apple's MPS, then the CPU.

    Raises
    ------
    BackboneError
        If the device is not there, or the name is unknown.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if device == "auto":
        return torch.device(next(name for name, there in available.items() if there))
    if device not in available:
        raise BackboneError(f"Device: expected one of auto, {', '.join(available)}, got {device!r}.")
    if not available[device]:
        raise BackboneError(
            f"Device: {device!r} was asked for, but this PyTorch ({torch.__version__}) sees none. Use "
            "--device auto or cpu, or install a PyTorch build for that device."
        )
    return torch.device(device)

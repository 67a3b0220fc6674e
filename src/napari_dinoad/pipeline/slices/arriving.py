"""Tensors on their way from a GPU to the CPU, which does something else meanwhile."""

from __future__ import annotations

from typing import Any

import torch

__all__ = ["Arriving"]


class Arriving:
    """Tensors that are being copied to the CPU once all that was begun before is done; what is begun then goes on.

    Parameters
    ----------
    *tensors : torch.Tensor
        Of one device; those of the CPU are there.
    """

    def __init__(self, *tensors: torch.Tensor) -> None:
        self._tensors = [_on_its_way(tensor) for tensor in tensors]
        self._arrived: Any = None
        device = tensors[0].device
        if device.type == "cuda":
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record(torch.cuda.current_stream(device))

    def tensors(self) -> list[torch.Tensor]:
        """Wait for the tensors, and return them, on the CPU (or another device that is none of CUDA's)."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._tensors


def _on_its_way(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor where it is on the CPU; of a GPU memory into which it is being copied."""
    if tensor.device.type != "cuda":
        return tensor
    copy = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    return copy.copy_(tensor, non_blocking=True)

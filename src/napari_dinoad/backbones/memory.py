"""How many slices go through a network at a time: as many as memory holds, fewer when it runs out."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING

import torch

from napari_dinoad.errors import BackboneError
from napari_dinoad.machine.faults import is_of_memory

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["PREFERRED_SLICES", "MemoryBatches", "free_bytes", "slices_that_fit"]

logger = logging.getLogger(__name__)

PREFERRED_SLICES = {"cuda": 32, "mps": 8, "cpu": 4}
"""Slices a call that keep a device busy; more of them make nothing faster."""

_SHARE_OF_FREE_MEMORY = 0.8
"""The rest is for what other programs and the scorer take meanwhile."""

_MORE_MEMORY = 1.5
"""Where a GPU has so many times the memory free that it had when too few slices fitted, that is found anew."""


class MemoryBatches:
    """Runs a function over slices in batches that fit into memory, and remembers what fits.

    Attributes
    ----------
    limit : int, optional
        Slices at a time; None: not found yet, all at once.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        self._free_then: int | None = None

    def at_once(self, preferred: int, device: torch.device) -> int:
        """Return how many slices a call should have: ``preferred``, or as many as memory holds.

        What does not fit now may do later: another program, or another worker process, gives memory back.
        """
        is_short = self.limit is not None and self.limit < preferred and self._free_then is not None
        if is_short and free_bytes(device) > _MORE_MEMORY * (self._free_then or 0):
            self.limit = None
        return min(preferred, self.limit or preferred)

    def run(
        self, embed: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor, device: torch.device
    ) -> torch.Tensor:
        """Return ``embed`` of all images, put together along the first axis.

        Raises
        ------
        BackboneError
            If memory does not hold a single slice.
        """
        if self.limit is None and device.type == "cuda":
            self.limit = _slices_that_fit_on_cuda(embed, images)
            self._free_then = free_bytes(device)
        values: torch.Tensor | None = None
        start = 0
        while start < len(images):
            size = min(self.limit or len(images), len(images) - start)
            part = _unless_out_of_memory(embed, images[start : start + size])
            if part is not None and values is None:
                values = _unless_out_of_memory(functools.partial(_room_for, len(images)), part)
            if part is None or values is None:
                self._halve(size, images, device)
                continue
            values[start : start + size] = part
            start += size
        return embed(images) if values is None else values

    def _halve(self, size: int, images: torch.Tensor, device: torch.device) -> None:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        if device.type == "cuda":
            self._free_then = free_bytes(device)
        if size == 1:
            side = "×".join(map(str, images.shape[-2:]))
            raise BackboneError(
                f"Memory: not even one slice of {side} pixels fits. Use a smaller --resolution or backbone, close "
                "other programs, or use --device cpu."
            )
        self.limit = size // 2
        logger.info("Memory ran out at %d slices; going on with %d at a time", size, self.limit)


def _room_for(n_slices: int, part: torch.Tensor) -> torch.Tensor:
    """Return an empty tensor for the embeddings of all slices, of which ``part`` are some."""
    return torch.empty((n_slices, *part.shape[1:]), dtype=part.dtype, device=part.device)


def slices_that_fit(free_bytes: int, bytes_a_slice: int) -> int:
    """Return how many slices may be embedded at a time, at least one."""
    return max(1, int(_SHARE_OF_FREE_MEMORY * free_bytes / max(bytes_a_slice, 1)))


def _slices_that_fit_on_cuda(
    embed: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> int | None:
    """Return what `slices_that_fit` says after one slice, or None if that one ran out already."""
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    if _unless_out_of_memory(embed, images[:1]) is None:
        return None
    a_slice = torch.cuda.max_memory_allocated() - before
    return slices_that_fit(free_bytes(torch.device("cuda")), a_slice)


def free_bytes(device: torch.device) -> int:
    """Return how much memory of a CUDA device is left to us: of the driver's, and what PyTorch holds without use."""
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return int(torch.cuda.mem_get_info(device)[0]) + unused


def _unless_out_of_memory(
    embed: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor
) -> torch.Tensor | None:
    """Return ``embed(images)``, or None if memory ran out; the exception, which holds tensors, is gone by then."""
    try:
        return embed(images)
    except (RuntimeError, MemoryError) as error:
        if is_of_memory(error):
            return None
        raise

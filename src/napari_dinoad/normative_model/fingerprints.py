"""Fingerprints of the normal scans behind a model, by which these are known again.

A fingerprint is the beginning of a SHA-256 of a scan's voxels and of where they lie (`Volume.content_sha256`), the
same in every format and under every name. Nothing of a scan can be told from it, but who has the scan can tell
whether it is behind the model.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_dinoad.errors import ModelFileError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["TENSOR", "fingerprint_of", "in_order", "store_fingerprints", "stored_fingerprints"]

TENSOR = "fingerprints"
"""Name of the tensor in a model file."""

_DIGITS = 16
"""Hexadecimal ones that are kept: of a million scans in a model, and a million new ones, two differ by all but one in
ten million chances."""


def fingerprint_of(voxels: str) -> int:
    """Return the fingerprint of a scan, of 64 bits, from the SHA-256 (hex) of its voxels."""
    return int(voxels[:_DIGITS], 16)


def in_order(fingerprints: Iterable[int]) -> tuple[int, ...]:
    """Return fingerprints each once and in ascending order, so that they do not tell in which order scans came."""
    return tuple(sorted(set(fingerprints)))


def store_fingerprints(fingerprints: tuple[int, ...], tensors: dict[str, torch.Tensor]) -> None:
    """Add fingerprints to the tensors of a model file, (n,) int64 with the same bits; none where there are none."""
    if fingerprints:
        tensors[TENSOR] = torch.from_numpy(np.array(fingerprints, dtype=np.uint64).view(np.int64))


def stored_fingerprints(tensors: dict[str, torch.Tensor]) -> tuple[int, ...]:
    """Return what `store_fingerprints` stored; none of a model without.

    Raises
    ------
    ModelFileError
        If the tensor is of another kind.
    """
    tensor = tensors.get(TENSOR)
    if tensor is None:
        return ()
    if tensor.dtype != torch.int64 or tensor.ndim != 1:
        raise ModelFileError(
            f"{TENSOR}: expected int64 of one dimension, got {tensor.dtype} of shape {tuple(tensor.shape)}. Fit or "
            "copy the model again."
        )
    return in_order(tensor.numpy().view(np.uint64).tolist())

"""The slices of one scan → embeddings; a slice that repeats one just seen is not embedded again."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from napari_dinoad.backbones import Backbone

__all__ = ["SliceEmbedder"]


class SliceEmbedder:
    """Embeds batches of one scan's model inputs, each content once among neighbouring batches.

    Interpolated series and padded volumes hold slices that are alike to the last bit.

    Parameters
    ----------
    backbone : Backbone
    """

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        self._just_seen: dict[bytes, torch.Tensor] = {}

    def __call__(self, images: np.ndarray) -> torch.Tensor:
        """Return the embeddings (n, gh, gw, d) of model inputs (n, H, W) float32, on the backbone's device."""
        keys = [hashlib.sha256(np.ascontiguousarray(image).data).digest() for image in images]
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        new = sorted(i for key, i in first.items() if key not in self._just_seen)
        if len(new) == len(images):
            values = self._backbone(torch.from_numpy(images)).values
            by_content = dict(zip(keys, values, strict=True))
        else:
            by_content = {key: self._just_seen[key] for key in keys if key in self._just_seen}
            if new:
                embedded = self._backbone(torch.from_numpy(images[new])).values
                by_content.update(zip((keys[i] for i in new), embedded, strict=True))
            values = torch.stack([by_content[key] for key in keys])
        self._just_seen = by_content
        return values

"""The slices of one scan → embeddings; a slice that repeats one just seen is not embedded again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from napari_dinoad.machine.sending import on_device

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.backbones.embeddings import Images

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

    def __call__(self, images: Images, contents: Sequence[bytes]) -> torch.Tensor:
        """Return the embeddings (n, gh, gw, d) of model inputs, on the backbone's device.

        Parameters
        ----------
        images : numpy.ndarray or torch.Tensor
            (n, H, W) or (n, 3, H, W) float32.
        contents : sequence of bytes
            What tells the n slices apart; see `PreparedScan.contents`.
        """
        tensor = torch.as_tensor(images)
        first = {key: i for i, key in reversed(list(enumerate(contents)))}
        new = sorted(i for key, i in first.items() if key not in self._just_seen)
        if len(new) == len(tensor):
            values = self._backbone(tensor).values
            by_content = dict(zip(contents, values, strict=True))
        else:
            by_content = {key: self._just_seen[key] for key in contents if key in self._just_seen}
            if new:
                embedded = self._backbone(tensor[on_device(torch.tensor(new), tensor.device)]).values
                by_content.update(zip((contents[i] for i in new), embedded, strict=True))
            values = torch.stack([by_content[key] for key in contents])
        self._just_seen = by_content
        return values

"""`load_backbone`: from a name to a backbone that is ready to embed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_dinoad.backbones.device import choose_device
from napari_dinoad.backbones.embedded import EmbeddedBackbone
from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.errors import BackboneError, WeightsError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.backbones.embeddings import Backbone
    from napari_dinoad.settings import Device

__all__ = ["load_backbone"]


def load_backbone(name: str, weights: str | Path | None = None, device: Device = "auto") -> Backbone:
    """Return the backbone called ``name`` with its weights, ready to embed.

    Parameters
    ----------
    name : str
        A name of `list_backbones` (``"embedded"``, ``"dinov2_vits14"``, …) or ``timm:<name>``.
    weights : path, optional
        A local weights file; None searches (see ``weights.find_weights``).
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.

    Raises
    ------
    BackboneError
        If the name is unknown or ambiguous, the device is not there, or timm cannot be imported.
    WeightsError
        If no weights are found, or a file does not hold those of this backbone.
    """
    spec = find_backbone(name)
    if not spec.needs_weights:
        if weights is not None:
            raise BackboneError(
                f"Weights: the backbone {name!r} has none of its own, got {weights}. Leave out --weights, or "
                "name the backbone that they belong to."
            )
        return EmbeddedBackbone(choose_device(device))
    raise WeightsError(f"Weights of {name!r}: loading them is the next commit; use 'embedded'.")

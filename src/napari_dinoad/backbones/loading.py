"""`load_backbone`: from a name to a backbone that is ready to embed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari_dinoad.backbones.device import choose_device
from napari_dinoad.backbones.embedded.backbone import EmbeddedBackbone
from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.backbones.weights.checkpoint import read_checkpoint
from napari_dinoad.backbones.weights.store import find_weights
from napari_dinoad.errors import BackboneError

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.backbones.embeddings import Backbone
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import Device

__all__ = ["load_backbone", "untrained_backbone"]

logger = logging.getLogger(__name__)


def load_backbone(
    name: str,
    weights: str | Path | None = None,
    device: Device = "auto",
    progress: Progress | None = None,
) -> Backbone:
    """Return the backbone called ``name`` with its weights, ready to embed.

    Parameters
    ----------
    name : str
        A name of `list_backbones` (``"embedded"``, ``"dinov2_vits14"``, …) or ``timm:<name>``; ``:last4`` after it
        averages the last four blocks.
    weights : path, optional
        A local weights file in timm's, Meta's or Transformers' layout; None searches the settings folder, the hub's
        cache and the hub (see `find_weights`).
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    progress : callable, optional
        Told how far a download of weights is; may raise `Cancelled`.

    Raises
    ------
    BackboneError
        If the name is unknown or ambiguous, the device is not there, or timm cannot be imported.
    WeightsError
        If no weights are found, or the file does not hold those of this backbone.
    """
    spec = find_backbone(name)
    if not spec.needs_weights:
        if weights is not None:
            raise BackboneError(
                f"Weights: the backbone {name!r} takes none, got {weights}. Leave out --weights, or name the "
                "backbone that they belong to (--backbone)."
            )
        return EmbeddedBackbone(choose_device(device))
    from napari_dinoad.backbones.timm_vit import TimmBackbone, import_timm
    from napari_dinoad.backbones.weights.matching import model_with_weights

    chosen = choose_device(device)
    import_timm()
    found = find_weights(spec, weights, progress)
    model = model_with_weights(spec, read_checkpoint(found.path), found.path)
    logger.info("%s: weights from %s (%s)", name, found.path.name, found.source)
    return TimmBackbone(spec, model, chosen, found.path)


def untrained_backbone(name: str, device: Device = "auto", seed: int = 0) -> Backbone:
    """Return the backbone called ``name`` with random weights: it embeds as fast as with the published ones.

    Nothing is searched or downloaded, and nothing of it is kept on disk. One that needs no weights is returned as it
    is.

    Parameters
    ----------
    name, device
        See `load_backbone`.
    seed : int
        Of the weights.

    Raises
    ------
    BackboneError
        See `load_backbone`.
    """
    spec = find_backbone(name)
    if not spec.needs_weights:
        return load_backbone(name, device=device)
    import torch

    from napari_dinoad.backbones.timm_vit import TimmBackbone, make_model

    chosen = choose_device(device)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = make_model(spec)
    return TimmBackbone(spec, model, chosen, keep_conversion=False)

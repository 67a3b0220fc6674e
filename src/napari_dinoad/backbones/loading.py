"""`load_backbone`: from a name to a backbone that is ready to embed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from napari_dinoad.backbones.checkpoint import read_checkpoint
from napari_dinoad.backbones.device import choose_device
from napari_dinoad.backbones.embedded import EmbeddedBackbone
from napari_dinoad.backbones.layouts import describe, to_timm
from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.backbones.weights import find_weights
from napari_dinoad.errors import BackboneError, WeightsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import nn

    from napari_dinoad.backbones.embeddings import Backbone
    from napari_dinoad.backbones.registry import BackboneSpec
    from napari_dinoad.settings import Device

__all__ = ["load_backbone", "verify_weights"]

logger = logging.getLogger(__name__)

_NAMED_AT_MOST = 3
"""Missing or surplus tensors named in a message."""


def load_backbone(name: str, weights: str | Path | None = None, device: Device = "auto") -> Backbone:
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

    chosen = choose_device(device)
    import_timm()
    found = find_weights(spec, weights)
    model = _model_with_weights(spec, found.path)
    logger.info("%s: weights from %s (%s)", name, found.path.name, found.source)
    return TimmBackbone(spec, model, chosen, found.path)


def verify_weights(name: str, file: Path) -> str:
    """Check that a file holds the weights of the backbone ``name``; `WeightsError` if not.

    Returns
    -------
    str
        The SHA-256 (hex) of the weights.
    """
    import torch

    from napari_dinoad.backbones.timm_vit import TimmBackbone

    spec = find_backbone(name)
    if not spec.needs_weights:
        raise BackboneError(f"Weights: the backbone {name!r} takes none.")
    return TimmBackbone(spec, _model_with_weights(spec, file), torch.device("cpu")).weights_sha256


def _model_with_weights(spec: BackboneSpec, path: Path) -> nn.Module:
    """Return timm's network with the weights of the file, after they were checked."""
    import torch

    from napari_dinoad.backbones.timm_vit import architecture_of, make_model

    tensors = read_checkpoint(path)
    with torch.device("meta"):
        blueprint = make_model(spec)
    found = describe(tensors)
    converted = to_timm(tensors, architecture_of(blueprint))
    with_bias = any(key.endswith(".attn.q_bias") for key in converted)
    model = make_model(spec, with_bias=with_bias)
    expected = model.state_dict()
    if not with_bias:
        # Published without biases, wanted by a network that has them (EUPE): they are zero.
        for key in expected:
            if key.endswith((".attn.q_bias", ".attn.v_bias")):
                converted.setdefault(key, torch.zeros_like(expected[key]))
    _require_match(spec, path, converted, expected, found)
    model.load_state_dict(converted, strict=True)
    return model


def _require_match(
    spec: BackboneSpec,
    path: Path,
    got: Mapping[str, torch.Tensor],
    expected: Mapping[str, torch.Tensor],
    found: str,
) -> None:
    missing = [key for key in expected if key not in got]
    surplus = [key for key in got if key not in expected]
    misshapen = [key for key in expected if key in got and got[key].shape != expected[key].shape]
    if not (missing or surplus or misshapen):
        return
    faults = []
    if misshapen:
        key = misshapen[0]
        shapes = f"{key} is {tuple(got[key].shape)} where {tuple(expected[key].shape)} is needed"
        faults.append(f"{len(misshapen)} tensors have another shape ({shapes})")
    for kind, keys in (("missing", missing), ("surplus", surplus)):
        if keys:
            more = ", …" if len(keys) > _NAMED_AT_MOST else ""
            faults.append(f"{len(keys)} tensors are {kind} ({', '.join(keys[:_NAMED_AT_MOST])}{more})")
    raise WeightsError(
        f"Weights: {path} does not hold {spec.description} ({spec.base_name}). It seems to be {found}; "
        f"{'; '.join(faults)}. Give the file of this backbone, or name the backbone of this file (--backbone)."
    )

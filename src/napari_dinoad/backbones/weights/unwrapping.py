"""From what a training script saved to the tensors of the network in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from napari_dinoad.errors import WeightsError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["unwrapped"]

_WRAPPERS = ("model", "state_dict", "teacher", "model_ema", "state_dict_ema", "ema", "module", "student")
"""Keys under which training scripts put the weights themselves."""

_TRAINED_TOGETHER = ("teacher", "student", "model_ema")
"""Networks that DINO trains; their tensors may lie side by side, with these names before them."""

_PREFIXES = ("module.", "backbone.", "_orig_mod.")
"""What wrapping a model puts before all of its names."""

_HEAD = re.compile(r"^(?:dino_head|ibot_head|head)\.")
"""What DINO trains on top of a backbone."""


def unwrapped(document: Any, path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a network by name, from a state dict or what a training script wraps around it.

    Of a DINO training checkpoint (teacher and student, each with heads) it is the teacher's backbone.

    Parameters
    ----------
    document : Any
        What the file holds.
    path : Path
        Where it came from, for messages.

    Raises
    ------
    WeightsError
        If there are no tensors, or those of a student alone, or of several networks besides.
    """
    while isinstance(document, Mapping):
        document = _without_prefixes(document)
        networks = _networks_of(document)
        if not networks:
            break
        document = networks[_chosen(networks, path)]
    if not isinstance(document, Mapping):
        raise WeightsError(f"Weights: {path} holds a {type(document).__name__}; expected tensors by name.")
    tensors = {str(key): value for key, value in document.items() if isinstance(value, torch.Tensor)}
    if not tensors:
        raise WeightsError(f"Weights: {path} holds no tensors. Expected the weights of a network.")
    return _without_prefixes(_without_heads(tensors))


def _networks_of(document: Mapping[Any, Any]) -> dict[str, Mapping[Any, Any]]:
    """Return the networks in it by name; none where its tensors are those of one."""
    networks = {key: document[key] for key in _WRAPPERS if _holds_tensors(document.get(key))}
    if networks:
        return networks
    together = {name: _beginning_with(f"{name}.", document) for name in _TRAINED_TOGETHER}
    return {name: tensors for name, tensors in together.items() if _holds_tensors(tensors)}


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(
        isinstance(inner, torch.Tensor) or _holds_tensors(inner) for inner in value.values()
    )


def _chosen(networks: Mapping[str, Any], path: Path) -> str:
    if set(networks) == {"student"}:
        raise WeightsError(
            f"Weights: {path} is a training checkpoint that holds the student without its teacher, whose features "
            "are the better ones. Save the teacher's backbone alone as safetensors, and give that."
        )
    candidates = [name for name in networks if name != "student"]
    if len(candidates) > 1:
        named = " and ".join(repr(name) for name in candidates)
        raise WeightsError(
            f"Weights: {path} holds several networks ({named}); which one is meant cannot be told. Save the one that "
            "you want alone, as safetensors."
        )
    return candidates[0]


def _beginning_with(prefix: str, document: Mapping[Any, Any]) -> dict[str, Any]:
    return {
        str(key).removeprefix(prefix): value for key, value in document.items() if str(key).startswith(prefix)
    }


def _without_heads(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the backbone where it lies beside nothing but heads."""
    backbone = _beginning_with("backbone.", tensors)
    others = [key for key in tensors if not key.startswith("backbone.")]
    return backbone if backbone and all(_HEAD.search(key) for key in others) else tensors


def _without_prefixes(document: Mapping[Any, Any]) -> dict[str, Any]:
    for prefix in _PREFIXES:
        if document and all(str(key).startswith(prefix) for key in document):
            return _without_prefixes(_beginning_with(prefix, document))
    return {str(key): value for key, value in document.items()}

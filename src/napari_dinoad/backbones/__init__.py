"""Backbones: frozen networks and filters that turn slices into patch embeddings.

The names, `list_backbones` and `find_backbone` need no torch; it is loaded with the first backbone.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from napari_dinoad.backbones.registry import BackboneSpec, find_backbone, list_backbones

if TYPE_CHECKING:
    from napari_dinoad.backbones.embeddings import Backbone, PatchEmbeddings
    from napari_dinoad.backbones.loading import load_backbone, untrained_backbone

__all__ = [
    "Backbone",
    "BackboneSpec",
    "PatchEmbeddings",
    "find_backbone",
    "list_backbones",
    "load_backbone",
    "untrained_backbone",
]

_LAZY = {
    "Backbone": "embeddings",
    "PatchEmbeddings": "embeddings",
    "load_backbone": "loading",
    "untrained_backbone": "loading",
}


def __getattr__(name: str) -> Any:
    """Import what needs torch when it is first used."""
    if name in _LAZY:
        return getattr(import_module(f"{__name__}.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__

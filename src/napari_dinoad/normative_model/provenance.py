"""What a model says of its backbone, and of how it came about. Reading it needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from platform import python_version
from typing import TYPE_CHECKING, Any, Self

from napari_dinoad import __version__

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["BackboneIdentity", "Provenance"]

_BACKBONE_KINDS = {"name": str, "weights_sha256": str, "embedding_dim": int, "patch_size_px": int}
_PROVENANCE_KINDS = {
    **dict.fromkeys(("n_scans", "n_slices", "n_persons", "n_merged", "seed"), int),
    "created": str,
    "versions": dict,
    "reading": list,
}
"""Types of what a model file says of its backbone and of how it came about."""


def _own_versions() -> dict[str, str]:
    import torch

    return {"napari-dinoad": __version__, "torch": str(torch.__version__), "python": python_version()}


@dataclass(frozen=True)
class BackboneIdentity:
    """Which backbone a model was fitted with; scoring with another one is refused."""

    name: str
    weights_sha256: str
    embedding_dim: int
    patch_size_px: int

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuild what a model file says; `TypeError` where it says other things, or of another type."""
        return cls(**_of_kinds(stored, _BACKBONE_KINDS))


@dataclass(frozen=True)
class Provenance:
    """How a model came about: counts and versions only.

    Attributes
    ----------
    n_scans, n_slices : int
        Normal scans and slices behind it, of all fits that it was made from.
    n_persons : int
        Persons that these scans are of, as far as the fits could tell; 0 means as many as scans.
    seed : int
    n_merged : int
        How many fitted models were merged into it; 1 for a model that was fitted.
    created : str
        Date and time (UTC, ISO 8601) at which it was made.
    versions : dict of str
        Of this package, PyTorch and Python, by name.
    reading : tuple of str
        How the normal scans were read, where that was not plain (`ReadSettings.words`).
    """

    n_scans: int
    n_slices: int
    seed: int
    n_merged: int = 1
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    versions: dict[str, str] = field(default_factory=_own_versions)
    reading: tuple[str, ...] = ()
    n_persons: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_persons", self.n_persons or self.n_scans)
        # A list when it comes from a file.
        object.__setattr__(self, "reading", tuple(self.reading))

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuild what a model file says; `TypeError` where it says other things, or of another type."""
        return cls(**_of_kinds(stored, _PROVENANCE_KINDS))


def _of_kinds(stored: Mapping[str, Any], kinds: Mapping[str, type]) -> Mapping[str, Any]:
    """Return JSON values by name; `TypeError` if one that is there is of another type."""
    for name, kind in kinds.items():
        if not isinstance(stored.get(name, kind()), kind):
            raise TypeError(f"{name}: expected {kind.__name__}, got {type(stored[name]).__name__}")
    return stored

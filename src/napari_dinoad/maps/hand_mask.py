"""A mask that a person drew, or corrected, on the grid of a scan."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import cc3d
import numpy as np

from napari_dinoad.errors import GeometryError
from napari_dinoad.maps.regions import measure_regions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.regions import Region

__all__ = ["HandMask", "Making"]

Making = Literal["corrected", "drawn"]
"""``"corrected"``: a person changed what was found; ``"drawn"``: nothing but a person made it."""

_IN_WORDS: dict[Making, str] = {"corrected": "Corrected by hand", "drawn": "Drawn by hand"}


@dataclass(frozen=True, eq=False)
class HandMask:
    """Labels by hand. No probability is claimed of them.

    Attributes
    ----------
    labels : numpy.ndarray
        (z, y, x) unsigned int in canonical orientation, 0 outside; the smallest type that holds them.
    source : Volume
        The scan; the mask lies on its grid.
    making : {"corrected", "drawn"}
    names : mapping of int to str
        What labels are called, where that is known.
    card : mapping, optional
        Of the model whose mask was corrected.
    author : str
        Who made it, as they wish to be named; empty where that is not told.

    Raises
    ------
    GeometryError
        If the shape is not the scan's, or a label is below 0.
    """

    labels: np.ndarray
    source: Volume
    making: Making
    names: Mapping[int, str] = field(default_factory=dict)
    card: Mapping[str, Any] | None = None
    author: str = ""

    def __post_init__(self) -> None:
        expected = self.source.geometry.canonical_shape
        if self.labels.shape != expected:
            raise GeometryError(f"Mask by hand: expected shape {expected}, got {self.labels.shape}.")
        if self.labels.size and self.labels.min() < 0:
            raise GeometryError(
                f"Mask by hand: expected labels of 0 and above, got {self.labels.min()}. Give such regions another "
                "label."
            )
        narrow = np.min_scalar_type(max(int(self.labels.max(initial=0)), 1))
        object.__setattr__(self, "labels", self.labels.astype(narrow, copy=False))

    @property
    def in_words(self) -> str:
        """How it was made, for people."""
        return _IN_WORDS[self.making]

    @cached_property
    def present(self) -> tuple[int, ...]:
        """The labels that occur, without 0, from the lowest."""
        # Only marked voxels are sorted.
        return tuple(np.unique(self.labels[self.labels > 0]).tolist())

    @cached_property
    def numbered(self) -> np.ndarray:
        """The numbers (z, y, x) of the regions: the labels, or, where there is one only, the connected regions."""
        if len(self.present) != 1:
            return self.labels
        connected: np.ndarray = cc3d.connected_components(self.labels > 0, connectivity=26, binary_image=True)
        return connected

    @cached_property
    def measured(self) -> tuple[Region, ...]:
        """Size and place of each region of `numbered`; what is said of peaks means nothing."""
        without_map = np.zeros(self.labels.shape, np.uint8)
        return measure_regions(self.numbered, without_map, self.source.geometry)

    @cached_property
    def regions(self) -> tuple[dict[str, Any], ...]:
        """Size and place of each label, or, where there is one label only, of each connected region.

        As `Region.to_dict`, without the entries on peaks: those are of the map, not of what was drawn.
        """
        rows = [region.to_dict() for region in self.measured]
        rows = [{key: row[key] for key in row if not key.startswith("peak_")} for row in rows]
        if len(self.present) > 1:
            rows = [
                row | {"name": self.names[row["label"]]} if row["label"] in self.names else row
                for row in rows
            ]
        return tuple(rows)

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values, without any folder."""
        return {
            "scan": self.source.name,
            "mask": self.in_words,
            **({"author": self.author} if self.author else {}),
            "labels": {str(label): self.names.get(label, "") for label in self.present},
            "n_regions": len(self.regions),
            "regions": list(self.regions),
            "notes": list(self.source.notes),
        }

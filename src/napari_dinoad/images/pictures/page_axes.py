"""What the pages of a TIFF are: slices of one stack, or channels and time points too (OME-TIFF, ImageJ)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import ScanReadError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "DESCRIPTION",
    "PageHeader",
    "declared_images",
    "full_pages",
    "pixel_fault",
    "told_of_pages",
    "volumes_of_pages",
]

DESCRIPTION = 270
"""Tag of a TIFF that holds a text, in which programs for microscopes say what its pages are."""

_VALUES = {0: 1, 1: 1, 2: 4}
"""Values of a pixel by what they mean: grey (low white, or black), or red, green, blue and an alpha not called so."""

_ALPHA = (1, 2)
"""Extra values of a pixel that say how opaque it is."""

_IMAGEJ_ORDER = "CZT"
_KINDS = {"C": "channels", "T": "time points"}
_IMAGEJ_KEYS = {"C": "channels", "Z": "slices", "T": "frames"}


@dataclass(frozen=True)
class PageHeader:
    """What the header of a page says of it.

    Attributes
    ----------
    size : tuple of int
        (rows, columns), as stored.
    is_reduced : bool
        Whether it calls itself a smaller copy of another page.
    description : str
    fault : str
        Why its pixels are no image; see `pixel_fault`. Empty otherwise.
    """

    size: tuple[int, int]
    is_reduced: bool = False
    description: str = ""
    fault: str = ""

    def require_image(self, path: Path) -> None:
        """Raise `ScanReadError`, with the file's name, where its pixels are no image."""
        if self.fault:
            raise ScanReadError(f"{path}: {self.fault}.")


def pixel_fault(photometric: int | None, n_values: int, extras: Sequence[int], n_slices: int) -> str:
    """Return why the pixels of a TIFF's page are no grey or colour image; empty where they are one.

    Parameters
    ----------
    photometric : int, optional
        What the values mean (PhotometricInterpretation).
    n_values : int
        Values of a pixel (SamplesPerPixel).
    extras : sequence of int
        What those beyond grey or colour mean (ExtraSamples).
    n_slices : int
        Slices in the page (ImageDepth).
    """
    if n_slices > 1:
        return f"{n_slices} slices in one page; expected one in each"
    n_expected = _VALUES.get(-1 if photometric is None else photometric)
    n_left = n_values - sum(extra in _ALPHA for extra in extras)
    if n_expected is None or n_left <= n_expected:
        return ""
    return (
        f"{n_left} values of each pixel that are no colour, such as channels or slices; expected one. Save each as a "
        "page, or as a file"
    )


def full_pages(pages: Sequence[PageHeader]) -> list[int]:
    """Return the numbers of the pages, from 0, that are no reduced copies: thumbnails, levels of a pyramid.

    A page that calls itself one, but is as large as one that does not, is no smaller copy; some programs call so all.
    """
    full = {page.size for page in pages if not page.is_reduced}
    return [i for i, page in enumerate(pages) if not full or not page.is_reduced or page.size in full]


def declared_images(description: str) -> int:
    """Return how many images ImageJ says to have written, 1 where it says nothing.

    Of more than 4 GB it writes the place of the first one only.
    """
    return _imagej_number(description, "images") if description.startswith("ImageJ=") else 1


def volumes_of_pages(description: str, n_pages: int) -> tuple[tuple[int, ...], ...]:
    """Return the pages of each volume, in the order of its slices; channels count faster than time points.

    Parameters
    ----------
    description : str
        What the first page's tag `DESCRIPTION` says; any text.
    n_pages : int

    Returns
    -------
    tuple of tuple of int
        Numbers of pages, from 0. One volume of all pages where they are one after the other along a single axis, or
        the description does not tell; see `told_of_pages`.
    """
    order, sizes = _axes(description, n_pages)
    if sum(size > 1 for size in sizes.values()) < 2:
        return (tuple(range(n_pages)),)
    pages = np.arange(n_pages).reshape([sizes[axis] for axis in reversed(order)])
    volumes = pages.transpose([order[::-1].index(axis) for axis in "TCZ"]).reshape(-1, sizes["Z"])
    return tuple(map(tuple, volumes.tolist()))


def told_of_pages(description: str, n_pages: int) -> str:
    """Return a sentence where all pages are said to be channels, or time points; else nothing.

    They may be slices all the same: programs that are not told what an axis is call it so.
    """
    _, sizes = _axes(description, n_pages)
    kind = {axis: name for axis, name in _KINDS.items() if sizes[axis] == n_pages > 1}
    return "".join(
        f"The file calls its {n_pages} pages {name}: read as slices of one stack. If they are none, choose one "
        "with --frame."
        for name in kind.values()
    )


def _axes(description: str, n_pages: int) -> tuple[str, dict[str, int]]:
    """Return the axes of the pages, the fastest first, and their lengths; slices alone where others do not add up."""
    order, sizes = _declared_axes(description, n_pages)
    if np.prod([sizes[axis] for axis in order], dtype=int) != n_pages:
        return "Z", {"Z": n_pages, "C": 1, "T": 1}
    return order, sizes


def _declared_axes(description: str, n_pages: int) -> tuple[str, dict[str, int]]:
    if description.startswith("ImageJ="):
        return _IMAGEJ_ORDER, {axis: _imagej_number(description, key) for axis, key in _IMAGEJ_KEYS.items()}
    blocks = re.findall(r"<(?:\w+:)?Pixels\b[^>]*>", description) if "OME" in description else []
    order = (
        re.search(r'\bDimensionOrder\s*=\s*["\']XY([CZT]{3})["\']', blocks[0]) if len(blocks) == 1 else None
    )
    if order is None or len(set(order[1])) < len(order[1]):
        return "Z", {"Z": n_pages, "C": 1, "T": 1}
    sizes = {axis: _ome_number(blocks[0], f"Size{axis}") for axis in "CZT"}
    # Channels of one page (red, green, blue) are counted too.
    n_channels = n_pages // (sizes["Z"] * sizes["T"])
    return order[1], sizes | {"C": min(max(n_channels, 1), sizes["C"])}


def _imagej_number(description: str, key: str) -> int:
    found = re.search(rf"(?m)^{key}=(\d{{1,9}})\s*$", description)
    return max(int(found[1]), 1) if found else 1


def _ome_number(block: str, key: str) -> int:
    found = re.search(rf'\b{key}\s*=\s*["\'](\d{{1,9}})["\']', block)
    return max(int(found[1]), 1) if found else 1

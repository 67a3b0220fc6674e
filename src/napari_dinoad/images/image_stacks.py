"""2D images of one folder as the slices of one scan, for each size that they have."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from napari_dinoad.images.earlier_results import is_drawn_result
from napari_dinoad.images.pictures.reader import in_natural_order
from napari_dinoad.images.scan_file import ScanFile
from napari_dinoad.machine.file_names import format_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

__all__ = ["are_stackable", "may_be_slice", "stacked"]


def may_be_slice(image: ScanFile) -> bool:
    """Whether a scan may be a slice of another one: a picture that is no result of ours."""
    is_image = image.kind == "image" and format_of(image.path) == "picture"
    return is_image and not is_drawn_result(image.path)


def are_stackable(scans: Iterable[ScanFile]) -> bool:
    """Whether several scans may be slices of one: of one folder and size."""
    alike = Counter((scan.path.parent, scan.shape) for scan in scans if may_be_slice(scan))
    return any(n > 1 for n in alike.values())


def stacked(images: Sequence[ScanFile], folder: Path, n_unreadable: int = 0) -> list[ScanFile]:
    """Return the images of one folder as one scan each size; an image alone stays what it is.

    Parameters
    ----------
    images : sequence of ScanFile
        Of which each `may_be_slice`.
    folder : Path
        Names the scans.
    n_unreadable : int
        Images beside them that could not be read.
    """
    by_shape: dict[tuple[int, ...], list[ScanFile]] = {}
    for image in images:
        by_shape.setdefault(image.shape, []).append(image)
    told = f"Slices may be missing: {n_unreadable} × an image of this folder that could not be read."
    scans = []
    for shape, alike in by_shape.items():
        if len(alike) == 1:
            scans.extend(alike)
            continue
        paths = tuple(in_natural_order(image.path for image in alike))
        size = f"_{shape[0]}x{shape[1]}" if len(by_shape) > 1 else ""
        name = f"{folder.resolve().name}{size}"
        notes = (told,) if n_unreadable else ()
        scans.append(ScanFile(folder, "volume", (len(paths), *shape), name=name, images=paths, notes=notes))
    return scans

"""What a fit will take on disk, told before it starts. Needs no torch, so that the interface can show it at once."""

from __future__ import annotations

import math
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.errors import SettingError
from napari_dinoad.machine.disk_room import bytes_in_words
from napari_dinoad.machine.file_names import format_of
from napari_dinoad.machine.user_folders import cache_folder, expanded

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.backbones import Backbone
    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.settings import CacheSettings, PreprocessingSettings

__all__ = ["FitEstimate", "cache_root", "estimate_fit"]

_BYTES_PER_VALUE = 2
"""float16."""

_ROOM_TO_SPARE = 1.05
"""Free space wanted above the estimate, for scorers and the model."""


@dataclass(frozen=True)
class FitEstimate:
    """What a fit will take at most: slices without body, known only once a scan is read, are left out later.

    Attributes
    ----------
    n_scans, n_slices : int
    n_bytes : int, optional
        Of the embeddings on disk; None for a backbone whose sizes are known only once it is loaded.
    free_bytes : int
        On the disk that they go to.
    n_voxels : int
        Of the scans as they are stored.
    """

    n_scans: int
    n_slices: int
    n_bytes: int | None
    free_bytes: int
    n_voxels: int

    @property
    def has_room(self) -> bool:
        """Whether the disk surely has room."""
        return self.n_bytes is None or self.n_bytes * _ROOM_TO_SPARE <= self.free_bytes

    def in_words(self) -> str:
        """Return one line for people."""
        size = "unknown size" if self.n_bytes is None else f"at most {bytes_in_words(self.n_bytes)}"
        return (
            f"{self.n_scans} scan{'s' if self.n_scans > 1 else ''}, at most {self.n_slices} "
            f"slice{'s' if self.n_slices > 1 else ''}; embeddings take {size} on disk during the fit "
            f"({bytes_in_words(self.free_bytes)} free)."
        )

    def require_limit(self, limit_bytes: int | None) -> None:
        """Raise `SettingError` if the embeddings may take more than ``limit_bytes``."""
        if limit_bytes is not None and self.n_bytes is not None and self.n_bytes > limit_bytes:
            raise SettingError(
                f"Embeddings: expected at most {bytes_in_words(limit_bytes)} on disk (--cache-limit), but these "
                f"{self.n_slices} slices may take {bytes_in_words(self.n_bytes)}. Raise the limit, lower "
                "--resolution, or fit on fewer scans."
            )


def estimate_fit(
    found: Discovery,
    backbone: str | Backbone,
    preprocessing: PreprocessingSettings,
    cache: CacheSettings | None = None,
) -> FitEstimate:
    """Estimate from headers alone what a fit on the scans found takes on disk.

    Parameters
    ----------
    found : Discovery
    backbone : str or Backbone
        Its name, or the backbone itself where it is loaded already.
    preprocessing : PreprocessingSettings
    cache : CacheSettings, optional

    Raises
    ------
    BackboneError
        If no backbone has this name.
    """
    spec = find_backbone(backbone) if isinstance(backbone, str) else backbone
    n_slices = sum(_most_slices(scan, plane) for scan in found.scans for plane in preprocessing.planes)
    n_voxels = sum(math.prod(scan.shape[:3]) for scan in found.scans)
    n_bytes = None
    if spec.patch_size_px and spec.embedding_dim:
        resolution = preprocessing.resolution_px or spec.default_resolution_px
        n_patches = (resolution // spec.patch_size_px) ** 2
        in_colour = getattr(spec, "colour_embedding_dim", 0) if preprocessing.colour else 0
        dim = in_colour or spec.embedding_dim
        n_bytes = n_slices * n_patches * dim * _BYTES_PER_VALUE + n_voxels * len(preprocessing.planes) // 8
    root = cache_root(cache)
    existing = next(folder for folder in (root, *root.parents) if folder.exists())
    free_bytes = shutil.disk_usage(existing).free
    return FitEstimate(len(found.scans), n_slices, n_bytes, free_bytes, n_voxels)


def cache_root(cache: CacheSettings | None) -> Path:
    """Return the folder that a fit's embeddings go to.

    The one chosen, or else that of the environment variable ``DINOAD_CACHE``, or else one in the user's cache folder.

    Raises
    ------
    DinoadError
        If it lies in a home folder that is not known.
    """
    if cache is not None and cache.folder is not None:
        return expanded(cache.folder, "--cache").absolute()
    named = os.environ.get("DINOAD_CACHE")
    if named:
        return expanded(named, "DINOAD_CACHE").absolute()
    advice = "Set it, or name a place for a fit's work with --cache or the environment variable DINOAD_CACHE."
    return cache_folder(advice) / "fits"


def _most_slices(scan: ScanFile, plane: str) -> int:
    """Return the number of slices along the plane's axis, or along the longest where the header leaves it open."""
    shape = scan.shape[:3]
    if len(shape) < 3 or 1 in shape:
        return 1
    if plane == "acquired" and scan.spacing_mm is not None:
        widest = max(scan.spacing_mm)
        return max(n for n, step in zip(shape, scan.spacing_mm, strict=False) if step == widest)
    if plane == "acquired" and (scan.images or format_of(scan.path) == "picture"):
        return shape[0]
    return max(shape)

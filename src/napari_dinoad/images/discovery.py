"""A folder → the scans in it, with a reason for each file that is not one. Headers only; no pixel is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image, UnidentifiedImageError

from napari_dinoad.errors import ScanReadError
from napari_dinoad.files import SCAN_SUFFIXES
from napari_dinoad.images.readers import IMAGE_SUFFIXES, NIFTI_SUFFIXES, open_nifti

__all__ = ["Discovery", "ScanFile", "SkippedFile", "discover_scans"]


@dataclass(frozen=True)
class ScanFile:
    """A scan that was found.

    Attributes
    ----------
    path : Path
    kind : {"volume", "image"}
        A 3D (or 2D with an affine) NIfTI scan, or a 2D image without physical size.
    shape : tuple of int
        Shape as stored.
    spacing_mm : tuple of float, optional
        Voxel size along the stored axes; None for images.
    """

    path: Path
    kind: Literal["volume", "image"]
    shape: tuple[int, ...]
    spacing_mm: tuple[float, ...] | None = None


@dataclass(frozen=True)
class SkippedFile:
    """A file or folder that is not used, and why."""

    path: Path
    reason: str


@dataclass(frozen=True)
class Discovery:
    """What a folder holds: scans in the order of their paths, and what was skipped."""

    folder: Path
    scans: tuple[ScanFile, ...]
    skipped: tuple[SkippedFile, ...]

    @property
    def is_mostly_2d(self) -> bool:
        """Whether most of the scans are 2D images."""
        return 2 * sum(scan.kind == "image" for scan in self.scans) > len(self.scans)


def discover_scans(folder: str | Path) -> Discovery:
    """Find the scans in a folder and its subfolders.

    Parameters
    ----------
    folder : str or Path
        Symbolic links to files are followed, hidden files and folders are not looked into.

    Returns
    -------
    Discovery
        Every file appears once: as a scan, or as skipped with its reason.

    Raises
    ------
    ScanReadError
        If ``folder`` is not a folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ScanReadError(
            f"{folder}: expected a folder of scans, found {'a file' if folder.exists() else 'nothing'}."
        )
    scans: list[ScanFile] = []
    skipped: list[SkippedFile] = []
    _walk(folder, scans, skipped)
    return Discovery(folder, tuple(scans), tuple(skipped))


def _walk(folder: Path, scans: list[ScanFile], skipped: list[SkippedFile]) -> None:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        skipped.append(SkippedFile(folder, f"folder cannot be opened ({error.strerror})"))
        return
    if not entries:
        skipped.append(SkippedFile(folder, "empty folder"))
    for path in entries:
        if path.name.startswith("."):
            skipped.append(SkippedFile(path, "hidden"))
        elif path.is_dir():
            _walk(path, scans, skipped)
        else:
            try:
                scans.append(_inspect(path))
            except ScanReadError as error:
                skipped.append(SkippedFile(path, without_path(error, path)))


def without_path(error: Exception, path: Path) -> str:
    """Return an error's message without the path that begins it."""
    return str(error).removeprefix(f"{path}: ")


def _inspect(path: Path) -> ScanFile:
    name = path.name.lower()
    if name.endswith(NIFTI_SUFFIXES):
        return _inspect_nifti(path)
    if name.endswith(IMAGE_SUFFIXES):
        return _inspect_image(path)
    raise ScanReadError(f"{path}: not a scan (endings known: {', '.join(SCAN_SUFFIXES)})")


def _inspect_nifti(path: Path) -> ScanFile:
    image = open_nifti(path)
    shape = tuple(int(n) for n in image.shape)
    n_frames = 1
    for n in shape[3:]:
        n_frames *= n
    if n_frames > 1:
        raise ScanReadError(f"{path}: a series of {n_frames} frames (shape {shape}); expected one 3D volume")
    if len(shape) < 2 or min(shape) < 1:
        raise ScanReadError(f"{path}: expected a 2D or 3D scan, got shape {shape}")
    zooms = tuple(float(z) for z in image.header.get_zooms()[: min(3, len(shape))])
    return ScanFile(path, "volume", shape, zooms)


def _inspect_image(path: Path) -> ScanFile:
    try:
        with Image.open(path) as image:
            width, height = image.size
            n_pages = getattr(image, "n_frames", 1)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise ScanReadError(f"{path}: not a readable image ({type(error).__name__})") from error
    if n_pages > 1:
        raise ScanReadError(f"{path}: {n_pages} pages; expected a single 2D image")
    return ScanFile(path, "image", (height, width))

"""npe2 writers: image and labels layers → NIfTI on the grid of the scan that they belong to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np
from napari.layers import Image, Labels
from napari.utils.notifications import show_info

from napari_dinoad.errors import SettingError
from napari_dinoad.gui.viewer.layer_marks import holding_of_layer, is_found_mask
from napari_dinoad.gui.viewer.layers import scan_of_layer
from napari_dinoad.gui.viewer.mask_values import without_choice
from napari_dinoad.images.volume import Volume
from napari_dinoad.machine.atomic_files import atomic_path
from napari_dinoad.maps.export import nifti_on_grid

if TYPE_CHECKING:
    from napari_dinoad.gui.viewer.layer_scan import LayerScan
    from napari_dinoad.images.nifti_files import Holding

__all__ = ["write_image", "write_labels"]

_RGB24 = np.dtype([(channel, np.uint8) for channel in "RGB"])
"""NIfTI's type of colours."""


def write_image(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write an image layer as NIfTI (npe2 writer contribution); float32 unless it is of integers, or in colour.

    NIfTI has colours of 8 bits alone (RGB24): others are rounded, which is told.
    """
    array = np.asarray(data[0] if meta.get("multiscale") else data)
    layer = Image(array, **_arguments(meta, ("rgb",)))
    if layer.rgb and array.dtype != np.uint8:
        show_info(f"{Path(path).name}: NIfTI has colours of 8 bits; those of {array.dtype} were rounded.")
    return _write(Path(path), layer, array, holding_of_layer(layer.metadata))


def write_labels(path: str, data: Any, meta: dict[str, Any]) -> list[str]:
    """Write a labels layer as NIfTI (npe2 writer contribution), unsigned and small where its labels allow it."""
    array = np.asarray(data)
    if is_found_mask(meta.get("metadata") or {}):
        array = without_choice(array)
    ends = (int(array.min(initial=0)), max(int(array.max(initial=0)), 1))
    array = array.astype(np.promote_types(*map(np.min_scalar_type, ends)))
    return _write(Path(path), Labels(array, **_arguments(meta, ())), array, "mask")


def _arguments(meta: dict[str, Any], more: tuple[str, ...]) -> dict[str, Any]:
    """Return what says where a layer lies, out of all that napari knows of it."""
    wanted = (
        "name",
        "metadata",
        "scale",
        "translate",
        "rotate",
        "shear",
        "affine",
        "units",
        "axis_labels",
        *more,
    )
    return {key: meta[key] for key in wanted if meta.get(key) is not None}


def _write(path: Path, layer: Image | Labels, array: np.ndarray, holding: Holding) -> list[str]:
    if not path.name.lower().endswith((".nii", ".nii.gz")):
        raise SettingError(f"Export: expected a name ending in .nii.gz or .nii, got {path.name!r}.")
    scan = scan_of_layer(layer, (0.0,) * layer.ndim)
    n_frames = int(np.prod(array.shape[: len(scan.frame)], dtype=int))
    frames = array.reshape(n_frames, *array.shape[len(scan.frame) :]) if scan.frame else array[np.newaxis]
    images = [_image_of(scan, frame, holding) for frame in frames]
    image = images[0] if not scan.frame else _series(images)
    with atomic_path(path) as temporary:
        nib.save(image, temporary)
    return [str(path)]


def _image_of(scan: LayerScan, frame: np.ndarray, holding: Holding) -> nib.Nifti1Image:
    if scan.is_rgb:
        colours = np.ascontiguousarray(scan.colours_to_canonical(_eight_bits(frame[..., :3])))
        canonical = colours.view(_RGB24)[..., 0]
        return nifti_on_grid(canonical, _place(scan, canonical.shape), holding)
    if frame.dtype == bool:
        frame = frame.astype(np.uint8)
    elif frame.dtype in (np.float16, np.float64, np.int64):
        frame = frame.astype(np.float32)
    canonical = scan.to_canonical(frame)
    return nifti_on_grid(canonical, _place(scan, canonical.shape), holding)


def _place(scan: LayerScan, shape: tuple[int, ...]) -> Volume:
    """Return a scan without values on the grid of a layer's."""
    source = scan.source
    return Volume(np.empty(shape, np.uint8), source.geometry, source.name, source.header)


def _eight_bits(colours: np.ndarray) -> np.ndarray:
    """Return colours as napari shows them, in 8 bits."""
    if colours.dtype == np.uint8:
        return colours
    white = float(np.iinfo(colours.dtype).max) if colours.dtype.kind in "iu" else 1.0
    return np.rint(np.clip(colours / white, 0, 1) * 255).astype(np.uint8)


def _series(images: list[nib.Nifti1Image]) -> nib.Nifti1Image:
    stacked = np.stack([np.asarray(image.dataobj) for image in images], axis=-1)
    return nib.Nifti1Image(stacked, images[0].affine, images[0].header)

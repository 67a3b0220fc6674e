"""An anomaly map of a DICOM series → DICOM parametric map, frame for frame on the images it was made from.

It refers to the source images and repeats the patient and study of their headers; see ``maps/dicom/sources``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.sr.codedict import codes

from napari_dinoad.errors import SettingError
from napari_dinoad.maps.dicom.frame_stream import streamed
from napari_dinoad.maps.dicom.sources import derived, describe, new_instance, save_object, source_fault
from napari_dinoad.settings import HEATMAP_LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pydicom import Dataset

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.anomaly_map import AnomalyMap
    from napari_dinoad.maps.dicom.frames import Frames

__all__ = ["build_dicom_map", "map_fault", "save_dicom_map"]

_SERIES_NUMBER_OFFSET = 2000

_DESCRIPTION = "napari-dinoad -log10 p, research use only"

_NAME, _INSTEAD = "DICOM parametric map", "Save the map as NIfTI"


def map_fault(volume: Volume) -> str:
    """Return why a scan cannot have a parametric map; empty when it can.

    Raises
    ------
    ScanReadError
        If the first or the last source file has gone or is damaged.
    """
    return _place_fault(volume) or source_fault(volume)


def _place_fault(volume: Volume) -> str:
    """Return what a scan lacks that maps need and other objects from DICOM do not; reads no file."""
    if volume.dicom_files and not volume.geometry.is_physical:
        return "expected a scan whose header says where in the patient it lies, got pixels without a place"
    return ""


def save_dicom_map(path: Path, anomaly_map: AnomalyMap, card: Mapping[str, Any] | None = None) -> Path:
    """Write a map as DICOM parametric map, atomically; see `build_dicom_map`."""
    return save_object(path, build_dicom_map(anomaly_map, card))


def build_dicom_map(anomaly_map: AnomalyMap, card: Mapping[str, Any] | None = None) -> ParametricMap:
    """Return a map as DICOM parametric map.

    Parameters
    ----------
    anomaly_map : AnomalyMap
        Of a scan with ``dicom_files``.
    card : mapping, optional
        The model's card, for the description of how the map was made.

    Returns
    -------
    highdicom.pm.ParametricMap
        32-bit floating point, −log10 p as it is; viewers are asked to show the heatmap's limits. The pixels are a
        buffer over ``anomaly_map.values``, from which they are read as they are written.

    Raises
    ------
    SettingError, ScanReadError, GeometryError
        If the scan has no place in the patient, and as `napari_dinoad.maps.dicom.sources.derived`.
    """
    fault = _place_fault(anomaly_map.source)  # `derived` tells the others
    if fault:
        raise SettingError(f"{_NAME}: {fault}. {_INSTEAD}.")
    values = anomaly_map.values.astype(np.float32, copy=False)
    return derived(
        _NAME,
        _INSTEAD,
        values,
        anomaly_map.source,
        lambda sources, pixels: _parametric_map(sources, pixels, float(values.max()), card),
    )


def _parametric_map(
    sources: list[Dataset], pixels: Frames, highest: float, card: Mapping[str, Any] | None
) -> ParametricMap:
    low, high = HEATMAP_LIMITS
    made = _NumberedMap(
        source_images=sources,
        pixel_array=_numbers(pixels),
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[
            RealWorldValueMapping(
                lut_label="-LOG10 P",
                lut_explanation="-log10 of the share of normal voxels that are as unusual",
                unit=codes.UCUM.NoUnits,
                value_range=(0.0, max(highest, high)),
                slope=1.0,
                intercept=0.0,
            )
        ],
        voi_lut_transformations=[
            hd.VOILUTTransformation(window_center=(low + high) / 2, window_width=high - low)
        ],
        content_label="ANOMALY_MAP",
        content_description=_DESCRIPTION,
        series_description=_DESCRIPTION,
        **new_instance(sources[0], _SERIES_NUMBER_OFFSET),
    )
    _put_pixels(made, pixels)
    describe(made, sources[0], card)
    return made


class _NumberedMap(ParametricMap):  # type: ignore[misc]  # highdicom has no types
    """A map that keeps of each frame its first pixel alone."""

    def _encode_pixels_native(self, planes: np.ndarray) -> bytes:
        """Return the first pixel of a frame as bytes; a highdicom that does not ask here keeps all pixels."""
        return planes[:1].tobytes()


def _numbers(pixels: Frames) -> Frames:
    """Return frames in the place of others, each filled with its own number, which take no memory.

    highdicom makes two copies of all pixels that it is given, and so gets to see where the frames lie alone.
    """
    numbers = np.arange(pixels.shape[0], dtype=np.float32)[:, np.newaxis, np.newaxis]
    filled = np.broadcast_to(numbers, pixels.shape)
    return pixels.with_array(filled) if isinstance(pixels, hd.Volume) else filled


def _put_pixels(made: ParametricMap, pixels: Frames) -> None:
    """Give a map made of `_numbers` the frames themselves, in the order in which it has put the numbers."""
    frames = pixels.array if isinstance(pixels, hd.Volume) else pixels
    order = np.frombuffer(made.FloatPixelData, dtype=np.float32).reshape(len(frames), -1)[:, 0]
    made.FloatPixelData = streamed([frames[int(number)] for number in order])

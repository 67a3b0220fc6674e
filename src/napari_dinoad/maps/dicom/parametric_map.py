"""An anomaly map of a DICOM series → DICOM parametric map, frame for frame on the images it was made from.

It refers to the source images and repeats the patient and study of their headers; see `dicom_sources`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from highdicom.pm import ParametricMap, RealWorldValueMapping
from pydicom.sr.codedict import codes

from napari_dinoad.errors import SettingError
from napari_dinoad.machine.files import atomic_path
from napari_dinoad.maps.dicom.sources import derived, describe, new_instance, source_fault
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
    parametric_map = build_dicom_map(anomaly_map, card)
    with atomic_path(path) as temporary:
        parametric_map.save_as(temporary)
    return path


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
        32-bit floating point, −log10 p as it is; viewers are asked to show the heatmap's limits.

    Raises
    ------
    SettingError, ScanReadError, GeometryError
        If the scan has no place in the patient, and as `napari_dinoad.maps.dicom.sources.derived`.
    """
    fault = _place_fault(anomaly_map.source)  # `derived` tells the others
    if fault:
        raise SettingError(f"{_NAME}: {fault}. {_INSTEAD}.")
    values = np.ascontiguousarray(anomaly_map.values, dtype=np.float32)
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
    made = ParametricMap(
        source_images=sources,
        pixel_array=pixels,
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
    describe(made, sources[0], card)
    return made

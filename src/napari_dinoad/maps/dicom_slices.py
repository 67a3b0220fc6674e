"""A result on a DICOM series → a series of colour images that every DICOM viewer shows: slices under their heatmap.

Secondary captures, in the place of the source's slices, so that viewers scroll both together. They repeat the patient
and study of the source images; see `dicom_sources`.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from highdicom.sc import SCImage
from highdicom.spatial import get_closest_patient_orientation
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.uid import RLELossless

from napari_dinoad.errors import SettingError
from napari_dinoad.files import require_folder
from napari_dinoad.maps.dicom_source_header import source_header
from napari_dinoad.maps.dicom_sources import describe, discreet, new_instance, source_headers
from napari_dinoad.maps.panels import MASK_COLOUR, blend, colour_bar, grey_window, outline
from napari_dinoad.settings import HEATMAP_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.anomaly_map import AnomalyMask

__all__ = ["build_dicom_slices", "save_dicom_slices", "slices_fault"]

_SERIES_NUMBER_OFFSET = 3000

_SIDE_PX = 512
"""Smaller slices are enlarged, by a whole number, until their longer side has so many pixels: for thin outlines."""

_DESCRIPTION = "napari-dinoad heatmap, research use only"
_NAME, _INSTEAD = "DICOM slices", "Save a picture"
_TEXT_COLOUR = (200, 200, 200)
_BAR_PX = (96, 8)
_MARGIN_PX = 6
_FONT_PX = 12


def slices_fault(volume: Volume) -> str:
    """Return why a scan cannot have a series of its slices; empty when it can. Reads one header.

    Raises
    ------
    ScanReadError
        If the first source file has gone or is damaged.
    """
    if not volume.dicom_files:
        return "expected a scan read from DICOM"
    if not source_header(volume.dicom_files[0]).get("StudyInstanceUID"):
        return "the headers of the source images lack StudyInstanceUID, the study that they would belong to"
    return ""


def save_dicom_slices(folder: Path, mask: AnomalyMask, card: Mapping[str, Any] | None = None) -> Path:
    """Write the series as ``0001.dcm``, … into a folder, in place of an earlier one; see `build_dicom_slices`.

    Earlier files stay until all new ones are written.
    """
    require_folder(folder.parent)
    with tempfile.TemporaryDirectory(prefix=".dinoad-", dir=folder.parent) as name:
        new = Path(name)
        for number, made in enumerate(build_dicom_slices(mask, card), start=1):
            made.save_as(new / f"{number:04d}.dcm")
        require_folder(folder)
        for old in folder.glob("[0-9][0-9][0-9][0-9].dcm"):
            old.unlink()
        for file in sorted(new.iterdir()):
            file.replace(folder / file.name)
    return folder


def build_dicom_slices(mask: AnomalyMask, card: Mapping[str, Any] | None = None) -> Iterator[SCImage]:
    """Give each slice as it is stored, in grey, with the heatmap over it and the mask's outline.

    Parameters
    ----------
    mask : AnomalyMask
        Of a scan with ``dicom_files``.
    card : mapping, optional
        The model's card; CT is shown in the model's window.

    Yields
    ------
    highdicom.sc.SCImage
        RGB, without loss compressed. "Research use only" and the heatmap's limits are written into it.

    Raises
    ------
    SettingError
        If the scan was not read from DICOM, or its headers lack the study.
    ScanReadError
        If a source file has gone or is damaged.
    """
    volume = mask.anomaly_map.source
    fault = slices_fault(volume)
    if fault:
        raise SettingError(f"{_NAME}: {fault}. {_INSTEAD}.")
    with discreet(_NAME, _INSTEAD):
        sources = source_headers(volume)
    preprocessing = (card or {}).get("preprocessing")
    low, high = grey_window(mask, preprocessing)
    grey = (np.clip(_frames(volume.values, volume), low, high) - low) * (255 / max(high - low, 1e-12))
    heat = _frames(mask.anomaly_map.values, volume)
    marked = _frames(mask.values, volume)
    new = new_instance(sources[0], _SERIES_NUMBER_OFFSET)
    for index in range(len(grey)):
        place = _Place.of(volume, index, grey.shape[1:])
        pixels = _picture(grey[index], heat[index], marked[index] > 0, place.zoom)
        with discreet(_NAME, _INSTEAD):
            made = _capture(pixels, sources[0], place, new, index)
            describe(made, sources[0], card)
            if len(sources) == len(grey) and not volume.is_resampled:
                made.SourceImageSequence = [_reference(sources[index])]
        yield made


@dataclass(frozen=True)
class _Place:
    """Where an enlarged slice lies.

    Attributes
    ----------
    zoom : int
        Pixels along the edge of one of the source's.
    spacing : tuple of float, optional
        Between rows and columns, of the enlarged slice; None without physical size, and so are all others.
    position, orientation : tuple of float, optional
        DICOM's, in LPS.
    letters : tuple of str, optional
        DICOM's patient orientation.
    """

    zoom: int
    spacing: tuple[float, float] | None = None
    position: tuple[float, ...] | None = None
    orientation: tuple[float, ...] | None = None
    letters: tuple[str, str] | None = None

    @classmethod
    def of(cls, volume: Volume, index: int, shape: tuple[int, ...]) -> _Place:
        zoom = max(1, -(-_SIDE_PX // max(shape)))
        if not volume.geometry.is_physical:
            return cls(zoom)
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ volume.geometry.affine
        along_row, along_column = affine[:3, 0], affine[:3, 1]
        sizes = np.linalg.norm(along_row), np.linalg.norm(along_column)
        # The centre of the first of the smaller pixels, in steps of one of the source's.
        first = (1 / zoom - 1) / 2
        position = (affine @ [first, first, index, 1])[:3]
        cosines = np.concatenate([along_row / sizes[0], along_column / sizes[1]])
        right, down, _ = get_closest_patient_orientation(affine)
        return cls(
            zoom,
            (float(sizes[1]) / zoom, float(sizes[0]) / zoom),
            tuple(position.tolist()),
            tuple(cosines.tolist()),
            (right.value, down.value),
        )


def _frames(canonical: np.ndarray, volume: Volume) -> np.ndarray:
    """Return (n, rows, columns) of a canonical (z, y, x) array, as the source images are stored."""
    stored = volume.geometry.to_stored(canonical)
    if not volume.geometry.is_physical:
        return stored.reshape(-1, *stored.shape[-2:])
    return stored.reshape(*stored.shape[:2], -1).transpose(2, 1, 0)


def _picture(grey: np.ndarray, heat: np.ndarray, marked: np.ndarray, zoom: int) -> np.ndarray:
    """Return (rows, columns, 3) uint8 of a slice (rows, columns), enlarged."""
    size = (grey.shape[1] * zoom, grey.shape[0] * zoom)

    def enlarged(values: np.ndarray, kind: Image.Resampling) -> np.ndarray:
        return np.asarray(Image.fromarray(np.ascontiguousarray(values, np.float32)).resize(size, kind))

    smooth = Image.Resampling.BILINEAR
    colours = blend(np.repeat(enlarged(grey, smooth)[..., None], 3, axis=2), enlarged(heat, smooth))
    outline(colours, enlarged(marked, Image.Resampling.NEAREST) > 0, MASK_COLOUR)
    picture = Image.fromarray(np.clip(np.round(colours), 0, 255).astype(np.uint8))
    _write_legend(picture)
    return np.asarray(picture)


def _write_legend(picture: Image.Image) -> None:
    """Write the heatmap's limits and what this is not to be used for into the lower left corner."""
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=_FONT_PX)
    low, high = HEATMAP_LIMITS
    bottom = picture.height - _MARGIN_PX
    style: dict[str, Any] = {"fill": _TEXT_COLOUR, "font": font, "stroke_width": 1, "stroke_fill": (0, 0, 0)}
    draw.text((_MARGIN_PX, bottom), "research use only", anchor="ls", **style)
    above = bottom - _FONT_PX - _MARGIN_PX
    left = f"p {10**-low:.1g}"
    draw.text((_MARGIN_PX, above), left, anchor="ls", **style)
    bar_left = 2 * _MARGIN_PX + int(draw.textlength(left, font=font))
    picture.paste(colour_bar(*_BAR_PX), (bar_left, above - _BAR_PX[1]))
    draw.text((bar_left + _BAR_PX[0] + _MARGIN_PX, above), f"{10**-high:.0e}", anchor="ls", **style)


def _capture(
    pixels: np.ndarray, source: Dataset, place: _Place, new: Mapping[str, Any], index: int
) -> SCImage:
    made = SCImage.from_ref_dataset(
        source,
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        pixel_spacing=place.spacing,
        patient_orientation=place.letters or ("L", "P"),
        transfer_syntax_uid=RLELossless,
        **{**new, "sop_instance_uid": hd.UID(), "instance_number": index + 1},
    )
    made.SeriesDescription = _DESCRIPTION
    made.ConversionType = "WSD"
    made.BurnedInAnnotation = "NO"  # what is written into it says nothing of the patient
    if place.letters is None:
        made.PatientOrientation = source.get("PatientOrientation")
    if place.position is not None and place.orientation is not None:
        made.ImagePositionPatient = [f"{x:.8g}" for x in place.position]
        made.ImageOrientationPatient = [f"{x:.8g}" for x in place.orientation]
        if source.get("FrameOfReferenceUID"):
            made.FrameOfReferenceUID = source.FrameOfReferenceUID
            made.PositionReferenceIndicator = source.get("PositionReferenceIndicator")
    return made


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item

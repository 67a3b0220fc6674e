"""A result on a DICOM series → a series of colour images that every DICOM viewer shows: slices under their heatmap.

Secondary captures, in the place of the source's slices, so that viewers scroll both together. They repeat the patient
and study of the source images; see ``maps/dicom/sources``.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from highdicom.sc import SCImage
from PIL import Image, ImageDraw, ImageFont
from pydicom import Dataset
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from napari_dinoad.errors import SettingError
from napari_dinoad.images.dicom.files import MANUFACTURER
from napari_dinoad.images.dicom.headers import is_of_ours
from napari_dinoad.images.values.colours import colour_window
from napari_dinoad.machine.atomic_files import require_folder, telling_of_writing
from napari_dinoad.machine.temporaries import temporary_folder
from napari_dinoad.maps.dicom.discretion import discreet, unheard
from napari_dinoad.maps.dicom.frames import as_frames
from napari_dinoad.maps.dicom.slice_place import SlicePlace, slice_numbers
from napari_dinoad.maps.dicom.source_header import source_header
from napari_dinoad.maps.dicom.sources import describe, new_instance, source_headers
from napari_dinoad.maps.finding_words import rate_in_words
from napari_dinoad.maps.pictures.panels import MASK_COLOUR, blend, colour_bar, grey_window, outline
from napari_dinoad.settings import HEATMAP_LIMITS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_dinoad.images.volume import Volume
    from napari_dinoad.maps.anomaly_map import AnomalyMask

__all__ = ["build_dicom_slices", "save_dicom_slices", "slices_fault"]

_SERIES_NUMBER_OFFSET = 3000

_SLICE_NAME = re.compile(r"\d{4,}\.dcm")

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
    with unheard():
        study = source_header(volume.dicom_files[0]).get("StudyInstanceUID")
    if not study:
        return "the headers of the source images lack StudyInstanceUID, the study that they would belong to"
    return ""


def save_dicom_slices(folder: Path, mask: AnomalyMask, card: Mapping[str, Any] | None = None) -> Path:
    """Write the series as ``0001.dcm``, … into a folder, in place of an earlier one; see `build_dicom_slices`.

    Earlier files stay until all new ones are written.

    Raises
    ------
    DinoadError
        As `build_dicom_slices`; if the folder holds images under such names that this program did not write, or
        cannot be written.
    """
    require_folder(folder.parent)
    earlier = _earlier_slices(folder)
    with (
        telling_of_writing(folder),
        temporary_folder(folder.parent) as new,
    ):
        for made in build_dicom_slices(mask, card):
            made.save_as(new / f"{made.InstanceNumber:04d}.dcm")
        require_folder(folder)
        for old in earlier:
            old.unlink()
        for file in sorted(new.iterdir()):
            file.replace(folder / file.name)
    return folder


def _earlier_slices(folder: Path) -> list[Path]:
    """Return the slices of an earlier series in a folder; images of others are refused, not removed."""
    found = sorted(path for path in folder.glob("[0-9]*.dcm") if _SLICE_NAME.fullmatch(path.name))
    others = [path for path in found if not is_of_ours(path)]
    if others:
        raise SettingError(
            f"{_NAME}: {others[0]} would be replaced, and was not written by {MANUFACTURER}. Choose another folder "
            "for the results, or move the file."
        )
    return found


def build_dicom_slices(mask: AnomalyMask, card: Mapping[str, Any] | None = None) -> Iterator[SCImage]:
    """Give each slice as it is stored, in grey or its colours, with the heatmap over it and the mask's outline.

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
    values, heat, marked = (
        as_frames(part, volume) for part in (volume.values, mask.anomaly_map.values, mask.values)
    )
    with discreet(_NAME, _INSTEAD):
        sources = source_headers(volume)
        new = new_instance(sources[0], _SERIES_NUMBER_OFFSET)
        numbers = slice_numbers(volume, sources, len(values))
    preprocessing = (card or {}).get("preprocessing")
    low, high = colour_window(volume) or grey_window(mask.anomaly_map, preprocessing)
    channels = [values]
    if colour_window(volume) is not None and volume.colours is not None:
        channels = [as_frames(np.ascontiguousarray(volume.colours[..., c]), volume) for c in range(3)]
    zoom = max(1, -(-_SIDE_PX // max(values.shape[1:])))
    for index, number in enumerate(numbers):
        place = SlicePlace.of(volume, sources[0], index, zoom)
        shown = [
            (np.clip(channel[index].astype(np.float32), low, high) - low) * (255 / max(high - low, 1e-12))
            for channel in channels
        ]
        pixels = _picture(shown, heat[index], marked[index] > 0, zoom)
        with discreet(_NAME, _INSTEAD):
            made = _capture(pixels, sources[0], place, new, number)
            describe(made, sources[0], card)
            if len(sources) == len(values) and not volume.is_resampled:
                made.SourceImageSequence = [_reference(sources[index])]
        yield made


def _picture(channels: Sequence[np.ndarray], heat: np.ndarray, marked: np.ndarray, zoom: int) -> np.ndarray:
    """Return (rows, columns, 3) uint8 of a slice, enlarged: of its grey alone (rows, columns), or three colours."""
    size = (heat.shape[1] * zoom, heat.shape[0] * zoom)

    def enlarged(values: np.ndarray, kind: Image.Resampling) -> np.ndarray:
        return np.asarray(Image.fromarray(np.ascontiguousarray(values, np.float32)).resize(size, kind))

    smooth = Image.Resampling.BILINEAR
    ground = [enlarged(channel, smooth) for channel in channels]
    colours = blend(np.stack(ground * (3 // len(ground)), axis=-1), enlarged(heat, smooth))
    outline(colours, enlarged(marked, Image.Resampling.NEAREST) > 0, MASK_COLOUR)
    picture = Image.fromarray(np.clip(np.round(colours), 0, 255).astype(np.uint8))
    _write_legend(picture)
    return np.asarray(picture)


def _write_legend(picture: Image.Image) -> None:
    """Write the heatmap's limits and what this is not to be used for into the lower left corner.

    Both grow with the picture: large radiographs are shown scaled down.
    """
    scale = max(1, max(picture.size) // _SIDE_PX)
    margin, font_px, bar_width, bar_height = (scale * x for x in (_MARGIN_PX, _FONT_PX, *_BAR_PX))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(size=font_px)
    low, high = HEATMAP_LIMITS
    bottom = picture.height - margin
    style: dict[str, Any] = {
        "fill": _TEXT_COLOUR,
        "font": font,
        "stroke_width": scale,
        "stroke_fill": (0, 0, 0),
    }
    draw.text((margin, bottom), "research use only", anchor="ls", **style)
    above = bottom - font_px - margin
    left = f"p {rate_in_words(10**-low)}"
    draw.text((margin, above), left, anchor="ls", **style)
    bar_left = 2 * margin + int(draw.textlength(left, font=font))
    picture.paste(colour_bar(bar_width, bar_height), (bar_left, above - bar_height))
    draw.text((bar_left + bar_width + margin, above), rate_in_words(10**-high), anchor="ls", **style)


def _capture(
    pixels: np.ndarray, source: Dataset, place: SlicePlace, new: Mapping[str, Any], number: int
) -> SCImage:
    made = SCImage.from_ref_dataset(
        source,
        pixels,
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        pixel_spacing=place.spacing,
        patient_orientation=place.letters or ("L", "P"),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        **{**new, "sop_instance_uid": hd.UID(), "instance_number": number},
    )
    made.SeriesDescription = _DESCRIPTION
    made.ConversionType = "WSD"
    made.BurnedInAnnotation = "NO"  # what is written into it says nothing of the patient
    made.compress(RLELossless, encoding_plugin=_encoder(), generate_instance_uid=False)
    place.write(made, source)
    return made


def _encoder() -> str:
    """Return what compresses: not GDCM, which ends the whole process over pictures with an odd number of pixels."""
    usable = [name for name in RLELosslessEncoder.available_plugins if name != "gdcm"]
    return "pylibjpeg" if "pylibjpeg" in usable else usable[0]


def _reference(source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = source.SOPClassUID, source.SOPInstanceUID
    return item

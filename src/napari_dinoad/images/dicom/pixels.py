"""One DICOM file → the values of its frames. Pixels are decoded by pydicom; rescale and inversion are highdicom's."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import highdicom as hd
import numpy as np
from pydicom.pixels import apply_color_lut, get_decoder
from pydicom.uid import UID, ExplicitVRLittleEndian, JPEGExtended12Bit, RLELossless

from napari_dinoad.errors import ScanReadError
from napari_dinoad.images.dicom.codecs import require_all_decoded, robust_plugin
from napari_dinoad.images.dicom.files import DAMAGED, read_dataset
from napari_dinoad.images.dicom.headers import GEOMETRY_TAGS, name_of_uid
from napari_dinoad.images.dicom.silence import unvalidated
from napari_dinoad.images.values.colours import are_coloured, colour_type
from napari_dinoad.images.values.grey import to_grey

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from pydicom import Dataset

__all__ = ["DecodedFrames", "decode_frames"]

_PIXEL_TAGS = (
    *GEOMETRY_TAGS,
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored", "HighBit",
    "PixelRepresentation", "PixelPaddingValue", "PixelPaddingRangeLimit", "RescaleSlope", "RescaleIntercept",
    "RescaleType", "ModalityLUTSequence", "PresentationLUTShape", "RedPaletteColorLookupTableDescriptor",
    "GreenPaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableDescriptor",
    "RedPaletteColorLookupTableData", "GreenPaletteColorLookupTableData", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData", "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData", "PixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths",
)  # fmt: skip
"""Tags needed to decode pixels; nothing else is parsed, so no patient tag is."""

_PLACE_TAGS = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing", "SpacingBetweenSlices")

_MEASURED_MODALITIES = ("CT", "PT", "NM")
"""Their values are measurements (Hounsfield units, activity): never inverted, however they are shown."""

_PANIC = "PanicException"
"""What decoders in Rust (RLE) raise over damaged pixels. It is no `Exception`, and no module has it to catch."""

_TRANSFORM = "PixelValueTransformationSequence"

_IDENTITY = (1.0, 0.0)
"""Slope and intercept that leave values as stored."""


@dataclass(frozen=True, eq=False)
class DecodedFrames:
    """Frames of a file.

    Attributes
    ----------
    values : numpy.ndarray
        (n, rows, columns) float32 after rescale; colour as grey.
    full_scale : float, optional
        The value that means white, where there is one.
    padding : numpy.ndarray, optional
        (n, rows, columns) bool: pixels that are no part of the image by the header; None when it names none.
    has_unused_bits : bool
        Whether bits were set beyond those that hold pixels: overlays, as older scanners keep them. They are left out.
    has_two_polarities : bool
        Whether the header says that high values are dark (MONOCHROME1) and that they are bright (IDENTITY). The
        former counts.
    mirror : float, optional
        Where high values are dark in the file: each of ``values``, of which high ones are bright, is this less what
        it is by the rescale alone, which the header's windows count in.
    colours : numpy.ndarray, optional
        (n, rows, columns, 3) uint8 or uint16 red, green and blue, where ``values`` are the grey of unequal ones.
    n_unscaled : int
        For how many of them the header says no slope, nor has a table in its place: values are those stored.
    is_rescaled : bool
        Whether the header's rescale, or a table in its place, makes other values of some of those stored.
    """

    values: np.ndarray
    full_scale: float | None
    padding: np.ndarray | None
    has_unused_bits: bool
    has_two_polarities: bool = False
    mirror: float | None = None
    colours: np.ndarray | None = None
    n_unscaled: int = 0
    is_rescaled: bool = False


def decode_frames(path: Path, numbers: Sequence[int], modality: str) -> DecodedFrames:
    """Decode frames of a file, counted from 1, in the order asked for.

    Raises
    ------
    ScanReadError
        If they are damaged, or compressed in a way that cannot be decoded here. Quotes nothing of the header.
    """
    with unvalidated:  # pydicom's warnings about odd values would quote them
        try:
            dataset = read_dataset(path, _PIXEL_TAGS)
            if "PixelData" not in dataset:
                raise ScanReadError(
                    f"{path.name}: no pixels, or pixels of floating-point numbers, which the standard has in "
                    "parametric maps only. Export the series again."
                )
            stored = _stored_pixels(dataset, numbers)
            require_all_decoded(dataset, stored, numbers)
            stored, has_unused_bits = _within_stored_bits(stored, dataset)
            white = _full_scale(dataset)
            if stored.ndim == 4 or dataset.PhotometricInterpretation == "PALETTE COLOR":
                colour = stored if stored.ndim == 4 else _coloured(stored, dataset)
                kept = colour.astype(colour_type(colour.dtype), copy=False) if are_coloured(colour) else None
                return DecodedFrames(to_grey(colour), white, None, has_unused_bits, colours=kept)
            rescales = _rescales(dataset, numbers)
            # Pixels of 0, as in an empty slice of PET, are the same by any slope.
            slopes = ([slope for slope, _ in own] for own in rescales)
            if any(0 in own and frame.any() for own, frame in zip(slopes, stored, strict=True)):
                raise ScanReadError(
                    f"{path.name}: RescaleSlope is 0 in its header, by which all values are the same. "
                    "Export the series again."
                )
            padding = _padding(stored, dataset)
            has_two_polarities = modality not in _MEASURED_MODALITIES and _without_second_polarity(dataset)
            values, mirror = _rescaled(dataset, stored, numbers, modality)
        except (*DAMAGED, RuntimeError, sqlite3.Error) as error:  # highdicom keeps frames in a table
            raise ScanReadError(f"{path.name}: {_why_undecodable(path, error)}") from None
        except BaseException as error:
            if type(error).__name__ != _PANIC:
                raise
            raise ScanReadError(f"{path.name}: {_why_undecodable(path, error)}") from None
    has_table = "ModalityLUTSequence" in dataset
    return DecodedFrames(
        values,
        white,
        padding,
        has_unused_bits,
        has_two_polarities,
        mirror,
        n_unscaled=0 if has_table else sum(not own for own in rescales),
        is_rescaled=has_table or any(one != _IDENTITY for own in rescales for one in own),
    )


def _stored_pixels(dataset: Dataset, numbers: Sequence[int]) -> np.ndarray:
    """Return pixels as stored (n, rows, columns), or (n, rows, columns, 3) of colour, as RGB."""
    syntax = dataset.file_meta.TransferSyntaxUID
    decoder = get_decoder(syntax)
    n_frames = int(dataset.get("NumberOfFrames") or 1)
    options: dict[str, Any] = {"correct_unused_bits": False, "allow_excess_frames": False}
    options["decoding_plugin"] = robust_plugin(dataset, decoder)
    if n_frames == 1 or not syntax.is_encapsulated or len(set(numbers)) != n_frames:
        return np.stack([decoder.as_array(dataset, index=number - 1, **options)[0] for number in numbers])
    # One by one, pydicom would go through the file anew for each frame.
    if int(dataset.SamplesPerPixel) == 1:
        # pydicom's iterator cannot give pixels the sign that JPEG-LS and JPEG 2000 may leave out.
        return np.asarray(decoder.as_array(dataset, **options)[0][np.array(numbers) - 1])
    frames = [pixels for pixels, _ in decoder.iter_array(dataset, **options)]
    return np.stack([frames[number - 1] for number in numbers])


def _within_stored_bits(pixels: np.ndarray, dataset: Dataset) -> tuple[np.ndarray, bool]:
    """Return pixels of their stored bits only, and whether others were set.

    The standard leaves the unused bits undefined (PS3.5, 8.1.1): they may hold overlays, or lack the sign. Where
    pixels lie in bits other than the lowest (HighBit), which it has retired, they are shifted there.
    """
    n_bits, n_stored = pixels.dtype.itemsize * 8, int(dataset.BitsStored)
    syntax = dataset.file_meta.TransferSyntaxUID
    high_bit = int(dataset.get("HighBit", n_stored - 1))
    if (syntax.is_encapsulated and syntax != RLELossless) or not n_stored - 1 <= high_bit < n_bits:
        high_bit = n_stored - 1  # codecs give the lowest bits
    if n_stored >= n_bits:
        return pixels, False
    inside = np.left_shift(pixels, n_bits - 1 - high_bit)
    np.right_shift(inside, n_bits - n_stored, out=inside)
    if high_bit == n_stored - 1 and np.array_equal(inside, pixels):
        return pixels, False
    unused = ~(((1 << n_stored) - 1) << (high_bit + 1 - n_stored)) & ((1 << n_bits) - 1)
    bits = pixels.view(f"u{pixels.dtype.itemsize}")
    is_extended = pixels == np.left_shift(inside, high_bit + 1 - n_stored)
    return inside, bool(((bits & bits.dtype.type(unused) != 0) & ~is_extended).any())


def _coloured(stored: np.ndarray, dataset: Dataset) -> np.ndarray:
    """Return the colours (n, rows, columns, 3) of pixels that are indices of a palette.

    pydicom takes the entries for little endian in any file, unless they are in segments. They are words of 16 bits
    also where two entries of 8 bits share one.
    """
    if not dataset.file_meta.TransferSyntaxUID.is_little_endian:
        for colour in ("Red", "Green", "Blue"):
            keyword = f"{colour}PaletteColorLookupTableData"
            if keyword in dataset:
                words = np.frombuffer(dataset[keyword].value, "<u2")
                dataset[keyword].value = words.byteswap().tobytes()
    return np.asarray(apply_color_lut(stored, dataset))


def _rescales(dataset: Dataset, numbers: Sequence[int]) -> list[list[tuple[float, float]]]:
    """Return the slopes and intercepts by which a header rescales each of some frames."""
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    common = [dataset, *_transforms(dataset.get("SharedFunctionalGroupsSequence") or ())]
    own = [_transforms([per_frame[number - 1]]) if per_frame else [] for number in numbers]
    return [
        [
            (float(one.RescaleSlope), float(one.get("RescaleIntercept") or 0))
            for one in (*common, *of_frame)
            if one.get("RescaleSlope") is not None
        ]
        for of_frame in own
    ]


def _transforms(groups: Iterable[Dataset]) -> list[Dataset]:
    return [item for group in groups for item in group.get(_TRANSFORM) or ()]


def _padding(stored: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Return where pixels have the value, or lie in the range, that the header says is no part of the image."""
    named = [dataset.get(keyword) for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit")]
    ends = [end for end in named if isinstance(end, int)]
    if not isinstance(named[0], int):
        return None
    # The tags may be written without the sign that the pixels have.
    ends = [int(np.array(end & (1 << 64) - 1, np.uint64).astype(stored.dtype)) for end in ends]
    padding = (stored >= min(ends)) & (stored <= max(ends))
    return padding if padding.any() else None


def _without_second_polarity(dataset: Dataset) -> bool:
    """Remove what contradicts MONOCHROME1, in place; return whether there was any. highdicom would go by it."""
    is_contradicted = bool(
        dataset.get("PhotometricInterpretation") == "MONOCHROME1"
        and dataset.get("PresentationLUTShape") == "IDENTITY"
    )
    if is_contradicted:
        del dataset.PresentationLUTShape
    return is_contradicted


def _rescaled(
    dataset: Dataset, stored: np.ndarray, numbers: Sequence[int], modality: str
) -> tuple[np.ndarray, float | None]:
    """Return grey pixels (n, rows, columns) float32 after the header's rescale, high values bright, and the mirror.

    The latter is that of `DecodedFrames`.
    """
    _reduce_to(dataset, stored, numbers)
    may_be_mirrored = modality not in _MEASURED_MODALITIES and (
        dataset.PhotometricInterpretation == "MONOCHROME1"
        or dataset.get("PresentationLUTShape", "IDENTITY") != "IDENTITY"
    )
    image = hd.Image.from_dataset(dataset, copy=False)

    def frames(which: list[int] | None = None, is_turned: bool = False) -> Any:
        return image.get_frames(
            which,
            dtype=np.float32,
            apply_real_world_transform=False,
            apply_voi_transform=False,
            apply_icc_profile=False,
            apply_presentation_lut=is_turned,
        )

    values = np.asarray(frames())
    if not may_be_mirrored:
        # What comes next takes highdicom as long again, for each slice of a series.
        return values, None
    turned = frames([1], is_turned=True)[0]
    if np.array_equal(values[0], turned):
        return values, None
    # highdicom would turn each frame about a value of its own where each has its own rescale.
    mirror = float(values[0].flat[0] + turned.flat[0])
    return np.subtract(mirror, values, out=values), mirror


def _reduce_to(dataset: Dataset, stored: np.ndarray, numbers: Sequence[int]) -> None:
    """Make a data set one of some of its frames, with their pixels uncompressed.

    Tags of the place that are there without a value go: highdicom takes what is there for a number.
    """
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    useless = ["ExtendedOffsetTable", "ExtendedOffsetTableLengths"]
    useless += [keyword for keyword in _PLACE_TAGS if dataset.get(keyword) is None]
    for keyword in useless:
        if keyword in dataset:
            del dataset[keyword]
    dataset.BitsAllocated = stored.dtype.itemsize * 8
    dataset.HighBit = int(dataset.BitsStored) - 1
    dataset.PixelData = stored.astype(stored.dtype.newbyteorder("<"), copy=False).tobytes()
    dataset["PixelData"].VR = "OW"
    if "NumberOfFrames" in dataset:
        dataset.NumberOfFrames = len(numbers)
    groups = list(dataset.get("SharedFunctionalGroupsSequence") or [])
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence")
    if per_frame:
        chosen = [per_frame[number - 1] for number in numbers]
        dataset.PerFrameFunctionalGroupsSequence = chosen
        groups += chosen
    if any(_TRANSFORM in group for group in groups):
        # highdicom would prefer those beside the functional groups, which the standard does not know.
        for keyword in ("RescaleSlope", "RescaleIntercept"):
            if keyword in dataset:
                del dataset[keyword]


def _full_scale(dataset: Dataset) -> float | None:
    """Return the value that means white of unsigned pixels that are not rescaled."""
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        return float(2 ** int(dataset.RedPaletteColorLookupTableDescriptor[2]) - 1)
    if dataset.get("PixelRepresentation", 0) or "ModalityLUTSequence" in dataset:
        return None
    slope, intercept = dataset.get("RescaleSlope") or 1, dataset.get("RescaleIntercept") or 0
    has_functional_groups = "SharedFunctionalGroupsSequence" in dataset
    if float(slope) != 1 or float(intercept) != 0 or has_functional_groups:
        return None
    return float(2 ** int(dataset.BitsStored) - 1)


def _why_undecodable(path: Path, error: BaseException) -> str:
    damaged = (
        f"the pixels, or what the header says of them, are damaged or cut short ({type(error).__name__}). "
        "Export the series again."
    )
    try:
        header = read_dataset(path, ("BitsStored",), stop_before_pixels=True)
        syntax = UID(str(header.file_meta.TransferSyntaxUID))
        told = f"pixels in the transfer syntax {name_of_uid(str(syntax))!r}, which cannot be decoded here"
    except DAMAGED:
        return damaged
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        return f"{told}. Export the series without compression."
    if not decoder.is_available:
        return f'{told}. Install the decoders: pip install "napari-dinoad[dicom-codecs]".'
    has_twelve_bits = syntax == JPEGExtended12Bit and header.get("BitsStored") != 8
    if has_twelve_bits and "pylibjpeg" not in decoder.available_plugins:
        return (
            f"12-bit {told}. Export the series without compression, or install a decoder (GPL): "
            "pip install pylibjpeg pylibjpeg-libjpeg."
        )
    return damaged

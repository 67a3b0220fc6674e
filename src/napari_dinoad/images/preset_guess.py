"""Which preset suits the scans of a folder, where none was named: guessed from some of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.errors import DinoadError, SettingError
from napari_dinoad.images.series_mix import several_series
from napari_dinoad.images.values.colours import colourfulness
from napari_dinoad.images.values.hounsfield import are_hounsfield, coarse, reaches_air
from napari_dinoad.images.values.intensity import intensity_range, sample_inside
from napari_dinoad.machine.file_names import format_of
from napari_dinoad.progress import report
from napari_dinoad.settings import COLOURED, preset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.images.discovery import Discovery
    from napari_dinoad.images.scan_file import ScanFile
    from napari_dinoad.images.volume import Volume
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import ReadSettings

__all__ = [
    "BRIGHT_PERCENTILE",
    "PresetChoice",
    "ScanLook",
    "brightness_range",
    "choose_preset",
    "look_at",
    "mixed_in_words",
    "scans_to_look_at",
    "suitable_preset",
]

N_VOLUMES = 5
"""Volumes looked at, spread over the folder: their kind is that of all."""

N_IMAGES = 100
"""2D images looked at: how unevenly bright they are is told by the darkest and the brightest tenth."""

_LOOKED_PX = 256
"""An image is looked at in about so many pixels a side."""

_LUNG_HU = (-950.0, -550.0)
"""Values between these inside the body are lung; around it they are foam that the patient lies on."""

_LUNG_SHARE = 0.1
"""Of the body in a CT of the chest. Real chests have 0.18 to 0.25, heads and abdomens 0.01, an empty skull 0.07."""

_PARTS = {
    "ct-head": ("HEAD", "BRAIN", "SKULL"),
    "ct-abdomen": (
        "ABDOMEN", "ABDOMENPELVIS", "BLADDER", "CHESTABDOMEN", "CHESTABDPELVIS", "COLON", "HIP", "KIDNEY", "LIVER",
        "LSPINE", "LSSPINE", "PANCREAS", "PELVIS", "PROSTATE", "SSPINE", "SPLEEN", "TLSPINE", "TSPINE", "WHOLEBODY",
    ),
}  # fmt: skip
"""Parts of the body as DICOM names them (PS3.16, annex L), by the preset for CT of them that shows little lung."""

_HEAD_FIELD_MM = 330.0
"""The field of view of a head CT is smaller than this, that of a trunk without lung larger."""


BRIGHT_PERCENTILE = 99
"""Inside the body, that of the brightest tissue."""

_FEWEST_IMAGES = 5
"""Of fewer it is not told how unevenly bright they are."""

_UNEVEN = 1.5
"""Images are unevenly bright where those among the brightest tenth are this many times as bright as in the darkest.

Slices of MR from many scanners: 1.8. Radiographs and photographs are stretched to nearly white when they are stored.
"""


_OF_IMAGES = ("image-2d", "image-colour", "mr-slices", "mr-brain", "oct", "bmad")
"""Presets for 2D images; those of heads and trunks in CT need Hounsfield units."""

_OF_CT = ("ct-head", "ct-chest", "ct-abdomen")

_NO_KIND = ("", "OT", "SC")
"""Modalities by which a header does not say what kind its scan is: none, other, secondary capture."""

_SAME_KIND = {"DX": "CR"}
"""Modalities of one kind under two names: digital and computed radiographs."""


@dataclass(frozen=True)
class ScanLook:
    """What one scan says about its kind.

    Attributes
    ----------
    is_ct : bool
        By its DICOM modality; where that is not known, whether it has values of air as in CT, and none far below.
    lung_share : float
        Of the voxels of the body in CT; 0 of other scans.
    field_mm : float, optional
        The longer side of a slice.
    brightness : float, optional
        Of a 2D image, or a stack of them without a place in the patient: its brightest tissue as a share of white;
        None where white is not known.
    is_coloured : bool
        Not so where grey is stored as colour, nor where colour is hardly any.
    is_hounsfield : bool
        Of a 2D image whose white is not known: whether its values lie as those of a slice of CT do.
    is_slice : bool
        Whether it is a single slice.
    """

    is_ct: bool
    lung_share: float
    field_mm: float | None
    brightness: float | None
    is_coloured: bool = False
    is_hounsfield: bool = False
    is_slice: bool = False


@dataclass(frozen=True)
class PresetChoice:
    """A preset and why it suits, in words.

    Attributes
    ----------
    name : str
    why : str
    is_guess : bool
        Whether it was chosen by what a few scans look like, and may be wrong.
    also : tuple of str
        Presets that may suit the scans as well: only their owner knows.
    mixed : str
        A sentence where the folder mixes kinds of scans; else empty.
    """

    name: str
    why: str
    is_guess: bool = False
    also: tuple[str, ...] = ()
    mixed: str = ""


def brightness_range(brightness: Sequence[float]) -> tuple[float, float] | None:
    """Return the brightness below which the darkest tenth of images lies, and that above which the brightest lies.

    None where they are about evenly bright, or too few to tell.

    Parameters
    ----------
    brightness : sequence of float
        Of the brightest tissue of each image, on one scale.
    """
    if len(brightness) < _FEWEST_IMAGES:
        return None
    dark, bright = np.percentile(brightness, (10, 90))
    return (float(dark), float(bright)) if 0 < _UNEVEN * dark < bright else None


def scans_to_look_at(discovery: Discovery) -> list[ScanFile]:
    """Return the scans of a folder that tell its kind; the first few are spread over all of it, too."""
    scans = discovery.scans
    if not discovery.is_mostly_2d:
        return [scans[i] for i in _spread(len(scans), N_VOLUMES)]
    images = [scan for scan in scans if scan.kind == "image"]
    first, all_of_them = _spread(len(images), N_VOLUMES), _spread(len(images), N_IMAGES)
    return [images[i] for i in (*first, *(i for i in all_of_them if i not in first))]


def _spread(n: int, n_wanted: int) -> list[int]:
    return [int(i) for i in np.unique(np.linspace(0, n - 1, min(n_wanted, n)).round())]


def look_at(volume: Volume, modality: str = "") -> ScanLook:
    """Return what a scan, of this modality by its DICOM header, says about its kind."""
    values, geometry = volume.values, volume.geometry
    # Of a single slice, the axis that it lacks.
    axis = int(np.argmin(values.shape)) if 1 in values.shape else 0
    is_ct = modality == "CT" if modality not in _NO_KIND else reaches_air(values)
    lengths = [
        n * step for a, (n, step) in enumerate(zip(values.shape, geometry.spacing, strict=True)) if a != axis
    ]
    return ScanLook(
        is_ct,
        _lung_share(coarse(values)) if is_ct else 0.0,
        max(lengths) if geometry.is_physical else None,
        _brightness(volume) if volume.is_2d or not geometry.is_physical else None,
        colourfulness(volume.colours, volume.full_scale or 1.0) >= COLOURED,
        volume.is_2d and volume.full_scale is None and are_hounsfield(values),
        volume.is_2d,
    )


def _lung_share(values: np.ndarray) -> float:
    """Return how much of the body is lung; values are Hounsfield units."""
    from napari_dinoad.images.foreground.body import find_body

    inside = values[find_body(values, is_ct=True)]
    return float(np.mean((inside > _LUNG_HU[0]) & (inside < _LUNG_HU[1])))


def _brightness(image: Volume) -> float | None:
    from napari_dinoad.images.foreground.body import find_body

    step = max(1, max(image.values.shape) // _LOOKED_PX)
    values = image.values[:, ::step, ::step]
    body = find_body(values)
    try:
        limits = intensity_range(image, body, preset("image-2d"))
    except SettingError:
        return None
    if limits is None or not limits[1] > 0:
        return None
    return float(np.percentile(sample_inside(values, body), BRIGHT_PERCENTILE)) / limits[1]


def choose_preset(
    discovery: Discovery, reading: ReadSettings | None = None, progress: Progress | None = None
) -> PresetChoice:
    """Look at some scans of a folder and return the preset that suits; scans that cannot be read are passed over."""
    looks = []
    chosen = scans_to_look_at(discovery)
    for done, scan in enumerate(chosen):
        report(progress, "Looking at some scans", done, len(chosen))
        try:
            looks.append(look_at(scan.read(reading), scan.modality))
        except DinoadError:
            continue
    return suitable_preset(discovery, looks)


def suitable_preset(discovery: Discovery, looks: Sequence[ScanLook]) -> PresetChoice:
    """Return the preset that suits the scans of a folder.

    2D images are taken as stored, in colour where most are (``image-colour``), else in grey (``image-2d``); but where
    they are unevenly bright, as slices of MR are, or MR by their headers, or do not say what is white, each is scaled
    by itself (``mr-slices``). DICOM names OCT (``oct``), and so are stacks of 2D images or of pages taken. Volumes of
    which most are in colour are ``image-colour``; films, and other images of DICOM without a place in the patient,
    are taken as 2D images are. CT is of the chest by how much lung there is, else of head or abdomen by the part of
    the body in the headers or, where they name neither, its field of view. Of all others volumes are ``mr-brain``,
    single slices in millimetres ``mr-slices``. Slices of CT as pictures say nothing of their field of view.

    Parameters
    ----------
    discovery : Discovery
    looks : sequence of ScanLook
        At `scans_to_look_at`, as far as they can be read.
    """
    return replace(_most_suitable(discovery, looks), mixed=mixed_in_words(discovery, looks))


def _most_suitable(discovery: Discovery, looks: Sequence[ScanLook]) -> PresetChoice:
    if discovery.modality == "OPT":
        return PresetChoice("oct", "the series are OCT")
    if discovery.is_mostly_2d:
        return _of_images(looks, discovery.modality)
    if 2 * sum(look.is_coloured for look in looks) > len(looks):
        return PresetChoice("image-colour", "most volumes are in colour", is_guess=True)
    if any(scan.images for scan in discovery.scans):
        return PresetChoice("oct", "folders of 2D slices", is_guess=True)
    if 2 * sum(map(_is_stack_of_pages, discovery.scans)) > len(discovery.scans):
        # Slices of a microscope grow darker with depth, too: as stored, or by one range, the deep ones would be dark.
        why = "most files are stacks of pages, of OCT or a microscope; each slice is scaled by itself"
        return PresetChoice("oct", why, is_guess=True, also=_OF_IMAGES)
    if 2 * sum(look.field_mm is None for look in looks) > len(looks):
        return _of_images(looks, discovery.modality)
    n_ct = len(looks) if discovery.modality == "CT" else sum(look.is_ct for look in looks)
    if 2 * n_ct <= len(looks):
        if 2 * sum(look.is_slice for look in looks) > len(looks):
            why = "single slices with no values as low as air in CT; each is scaled by itself"
            return PresetChoice(
                "mr-slices", why, is_guess=discovery.modality != "MR", also=(*_OF_IMAGES, *_OF_CT)
            )
        most = "most volumes have" if n_ct or "CT" in _kinds(discovery) else "volumes with"
        return PresetChoice("mr-brain", f"{most} no values as low as air in CT")
    lung = float(np.median([look.lung_share for look in looks]))
    if lung > _LUNG_SHARE:
        return PresetChoice("ct-chest", f"CT of a body with {100 * lung:.0f} % lung", is_guess=True)
    named = Counter(name for scan in discovery.scans for name in _PARTS if scan.body_part in _PARTS[name])
    if named:
        ((name, _),) = named.most_common(1)
        where = "head" if name == "ct-head" else "trunk"
        return PresetChoice(name, f"CT of the {where} by the headers, with little lung", is_guess=True)
    fields = [look.field_mm for look in looks if look.field_mm is not None]
    if fields and float(np.median(fields)) < _HEAD_FIELD_MM:
        return PresetChoice(
            "ct-head",
            f"CT with a field of view of {np.median(fields):.0f} mm and little lung",
            is_guess=True,
        )
    return PresetChoice("ct-abdomen", "CT of the trunk with little lung", is_guess=True)


def _is_stack_of_pages(scan: ScanFile) -> bool:
    return scan.kind == "volume" and format_of(scan.path) == "picture"


def mixed_in_words(discovery: Discovery, looks: Sequence[ScanLook] = ()) -> str:
    """Return a sentence where a folder mixes kinds of scans; else nothing.

    Kinds are told by the modalities in all DICOM headers; scans without one by whether those looked at are CT. Of one
    modality several series of most studies are several kinds, and so are several sequences at the end of names.
    """
    kinds = _kinds(discovery)
    n_ct = sum(look.is_ct for look in looks)
    if len(kinds) > 1:
        told = (
            f"By their headers the scans are {', '.join(f'{n} × {kind}' for kind, n in kinds.most_common())}"
        )
    elif n_ct not in (0, len(looks)):
        told = f"{n_ct} of the {len(looks)} scans looked at {_are(n_ct)} CT, the others are not"
    elif any((kind == "CT") != (n_ct > 0) for kind in kinds) and looks:
        ((kind, n),) = kinds.items()
        told = (
            f"{n} of the {len(discovery.scans)} scans {_are(n)} {kind} by the header, those looked at are not"
        )
    else:
        several = several_series(discovery.scans)
        advice = ": fit a model of each kind, chosen by its series. (dinoad fit --series NAME)"
        return several and several + advice
    return f"{told}: fit a model of each kind."


def _are(n: int) -> str:
    return "is" if n == 1 else "are"


def _kinds(discovery: Discovery) -> Counter[str]:
    """Return how many scans have each modality, of those whose header names one."""
    named = (scan.modality for scan in discovery.scans)
    return Counter(_SAME_KIND.get(name, name) for name in named if name not in _NO_KIND)


def _of_images(looks: Sequence[ScanLook], modality: str) -> PresetChoice:
    brightness = [look.brightness for look in looks if look.brightness is not None]
    if 2 * sum(look.is_hounsfield for look in looks) > len(looks):
        return PresetChoice(
            "mr-slices",
            "2D images of values as in CT; each is scaled by itself, since pictures do not say which window they "
            f"need (of {', '.join(_OF_CT)})",
            is_guess=True,
            also=(*_OF_IMAGES, *_OF_CT),
        )
    if 2 * len(brightness) < len(looks):
        return PresetChoice(
            "mr-slices",
            "2D images of numbers that do not say what is white; each is scaled by itself",
            is_guess=True,
            also=_OF_IMAGES,
        )
    if 2 * sum(look.is_coloured for look in looks) > len(looks):
        return PresetChoice(
            "image-colour", "most files are pictures in colour", is_guess=True, also=_OF_IMAGES
        )
    if modality == "MR":
        return PresetChoice(
            "mr-slices", "MR without a place in the patient; each is scaled by itself", also=_OF_IMAGES
        )
    uneven = brightness_range(brightness)
    if uneven is None:
        return PresetChoice(
            "image-2d", "most files are 2D images or films, about evenly bright", also=_OF_IMAGES
        )
    dark, bright = uneven
    return PresetChoice(
        "mr-slices",
        f"2D images of uneven brightness, as slices of MR are (brightest tissue from {100 * dark:.0f} to "
        f"{100 * bright:.0f} % of white, leaving out a tenth at each end); each is scaled by itself",
        is_guess=True,
        also=_OF_IMAGES,
    )

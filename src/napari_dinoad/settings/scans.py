"""Settings of reading scans and of turning them into model inputs; the presets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from napari_dinoad.errors import SettingError
from napari_dinoad.settings.checks import require, require_choice, require_finite
from napari_dinoad.settings.choices import ANATOMICAL_PLANES, BodyMask, Intensity, Plane
from napari_dinoad.settings.kinds import settle

STACKED_FOLDERS = "The 2D images of a folder were one scan."
"""What a model says of its normal scans where `ReadSettings.stack_folders` held of them."""


@dataclass(frozen=True)
class ReadSettings:
    """What is meant where a file or folder could be read in several ways.

    Attributes
    ----------
    series : str, optional
        Which series: of DICOM its number, description, kernel (CT), or the end of its UID; of the other files of a
        folder what their names end with (``"T1w"`` of ``sub-01_T1w``). With ``*`` or ``?`` a pattern of the whole
        description, or of the name without its ending (``"*mprage*"``); with ``/`` of a file's folder and name. A
        file that is named itself is read as it is.
    frame : int, optional
        Which volume of a 4D scan, or page of a stack, from 0; scans with nothing to choose from are read as they are.
    resample : bool
        Make even volumes of uneven or tilted DICOM slices by interpolation, instead of refusing them.
    stack_folders : bool
        The 2D images of one folder are the slices of one scan (OCT B-scans), not a scan each.
    """

    series: str | None = None
    frame: int | None = None
    resample: bool = False
    stack_folders: bool = False

    def __post_init__(self) -> None:
        settle(self)
        if self.frame is not None:
            require(self.frame >= 0, "frame", "0 or more", self.frame)

    def words(self) -> tuple[str, ...]:
        """Return what is not the plain reading, a sentence each, for a model's card; nothing that the user typed."""
        said = []
        if self.series is not None:
            said.append("Of several series one was chosen.")
        if self.frame is not None:
            said.append(f"Of scans with several frames, frame {self.frame} (from 0) was used.")
        if self.resample:
            said.append("Uneven or tilted DICOM series were made even by interpolation.")
        if self.stack_folders:
            said.append(STACKED_FOLDERS)
        return tuple(said)


@dataclass(frozen=True)
class PreprocessingSettings:
    """How a scan becomes model inputs. Stored in the model file: patients are treated like the normals.

    Attributes
    ----------
    preset : str
        The name of the preset that these settings started from.
    intensity : str
        ``"robust-percentiles"`` (inside the body, per volume), ``"slice-percentiles"`` (per slice),
        ``"window"`` (fixed, ``window``) or ``"as-stored"`` (integer range → [0, 1]).
    window : tuple of float, optional
        Lower and upper bound in the scan's own units (Hounsfield units for CT).
    percentiles : tuple of float
        Lower and upper percentile that become 0 and 1.
    plane : str
        Slicing direction; ``"all"`` for three of them, fused in p-space.
    resolution_px : int, optional
        Side of the square model input; None takes the backbone's own.
    body_mask : str
        ``"automatic"`` finds the body, crops to it and scores only there, ``"field-of-view"`` the field of view of
        photographs on black; ``"off"`` uses the whole image.
    min_body_fraction : float
        Slices with less body than this share of the largest slice's body are not scored.
    colour : bool
        Whether a model sees the colours of pictures that have any. Else their grey, in three equal channels.
    """

    preset: str = "image-2d"
    intensity: Intensity = "as-stored"
    window: tuple[float, float] | None = None
    percentiles: tuple[float, float] = (1.0, 99.5)
    plane: Plane = "acquired"
    resolution_px: int | None = None
    body_mask: BodyMask = "automatic"
    min_body_fraction: float = 0.05
    colour: bool = False

    def __post_init__(self) -> None:
        settle(self)
        require_finite(self, "preprocessing")
        require_choice("intensity", self.intensity, Intensity)
        require_choice("plane", self.plane, Plane)
        require_choice("body mask", self.body_mask, BodyMask)
        if self.intensity == "window":
            ok = self.window is not None and self.window[0] < self.window[1]
            require(ok, "intensity window", "a lower and a higher bound", self.window)
        low, high = self.percentiles
        require(0 <= low < high <= 100, "percentiles", "0 <= low < high <= 100", self.percentiles)
        if self.resolution_px is not None:
            in_range = 32 <= self.resolution_px <= 4096
            require(in_range, "resolution", "32 to 4096 pixels", self.resolution_px)
        require(0 <= self.min_body_fraction < 1, "min body fraction", "0 to 1", self.min_body_fraction)

    @property
    def planes(self) -> tuple[Plane, ...]:
        """The slicing directions, one or several."""
        return ANATOMICAL_PLANES if self.plane == "all" else (self.plane,)

    def stored(self) -> dict[str, Any]:
        """Return JSON values of what models, and names of kept embeddings, are made of.

        Without colour they are those of before there was any: such models and embeddings are the same still.
        """
        values = asdict(self)
        if not self.colour:
            del values["colour"]
        return values


def _ct_window(centre_hu: float, width_hu: float) -> tuple[float, float]:
    return centre_hu - width_hu / 2, centre_hu + width_hu / 2


PRESETS: dict[str, PreprocessingSettings] = {
    "mr-brain": PreprocessingSettings("mr-brain", "robust-percentiles", plane="axial"),
    "ct-head": PreprocessingSettings("ct-head", "window", _ct_window(40, 80), plane="axial"),
    "ct-chest": PreprocessingSettings("ct-chest", "window", _ct_window(-600, 1500), plane="axial"),
    "ct-abdomen": PreprocessingSettings("ct-abdomen", "window", _ct_window(40, 350), plane="axial"),
    "oct": PreprocessingSettings("oct", "slice-percentiles", body_mask="off"),
    "image-2d": PreprocessingSettings("image-2d", "as-stored"),
    "mr-slices": PreprocessingSettings("mr-slices", "robust-percentiles"),
    "image-colour": PreprocessingSettings(
        "image-colour", "as-stored", body_mask="field-of-view", colour=True
    ),
    "bmad": PreprocessingSettings("bmad", "as-stored", body_mask="off"),
}


def preset(name: str) -> PreprocessingSettings:
    """Return the preprocessing settings of the preset ``name``.

    Raises
    ------
    SettingError
        If there is no such preset.
    """
    if not isinstance(name, str) or name not in PRESETS:
        raise SettingError(f"preset: expected one of {', '.join(PRESETS)}, got {name!r}.")
    return PRESETS[name]

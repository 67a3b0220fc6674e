"""The card of a model, for people: of one that is loaded, or from its file alone, without torch."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from napari_dinoad import __version__
from napari_dinoad.calibration import Calibration
from napari_dinoad.errors import DinoadError
from napari_dinoad.normative_model.file import read_model_arrays
from napari_dinoad.normative_model.provenance import BackboneIdentity, Provenance
from napari_dinoad.settings import (
    MODEL_FORMAT_VERSION,
    ArCnnSettings,
    DpmmSettings,
    MemoryBankSettings,
    PreprocessingSettings,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["card_of", "stored_card", "stored_preprocessing"]

_SETTINGS = {"dpmm": DpmmSettings, "ar-cnn": ArCnnSettings, "memory-bank": MemoryBankSettings}

_CALIBRATION = "calibration."
"""Begins the names of a model's own calibration among the arrays of its file."""


def card_of(
    scorers: Mapping[str, Mapping[str, Any]],
    planes: Sequence[str],
    backbone: BackboneIdentity,
    preprocessing: PreprocessingSettings,
    calibration: Calibration,
    smoothing_mm: float,
    n_level_slices: int,
    n_kept_patches: int,
    provenance: Provenance,
) -> dict[str, Any]:
    """Return what a model is, as JSON values.

    Parameters
    ----------
    scorers : mapping of str to mapping
        The settings in the state of each of its scorers, by name; see `ScorerState`.
    planes : sequence of str
    backbone, preprocessing, calibration, smoothing_mm, provenance
        See `NormativeModel`.
    n_level_slices : int
        Normal slices, of all planes, that a scan's slices are compared with; see `PlaneModel.levels`.
    n_kept_patches : int
        Held-out patches in it, of all planes; see `PlaneModel.patches`.
    """
    settings = {name: _in_order(values) for name, values in scorers.items()}
    first, *others = settings.values()
    return {
        "format_version": MODEL_FORMAT_VERSION,
        "scorer": "+".join(scorers),
        "scorer_settings": settings if others else first,
        "planes": list(planes),
        "backbone": asdict(backbone),
        "preprocessing": asdict(preprocessing),
        "calibration": {
            "method": calibration.method,
            "n_scans": calibration.n_scans,
            "n_persons": calibration.n_persons,
            "n_voxels": calibration.n_voxels,
            "smallest_scan_p_value": calibration.smallest_scan_p_value,
            "resolved_neg_log10_p": round(calibration.resolved_neg_log10_p, 3),
            "smoothing_mm": smoothing_mm,
            "n_level_slices": n_level_slices,
            "n_kept_patches": n_kept_patches,
        },
        **asdict(provenance),
        "use": "Research use only; not a medical device.",
    }


def _in_order(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of a scorer's state, the settings first; in a file all are in the order of the alphabet."""
    return {name: values[name] for name in sorted(values, key=lambda name: (name != "settings", name))}


def stored_preprocessing(stored: Mapping[str, Any]) -> PreprocessingSettings:
    """Rebuild the preprocessing that a model file tells."""
    return PreprocessingSettings(**stored)


def stored_card(path: Path) -> dict[str, Any] | None:
    """Return the card of a model file without building the model; None where it must be built to tell if it is sound.

    All that is in the file is read, and its checksum is compared. A file that this very version wrote, and that is
    unchanged since, can be loaded. Files of other versions, and damaged ones, are left to `NormativeModel.load`.

    Raises
    ------
    ModelFileError
        If the file is missing, no model file, or of another format.
    """
    document, arrays, is_whole = read_model_arrays(path)
    if not is_whole:
        return None
    try:
        provenance = Provenance.from_dict(document["provenance"])
        if provenance.versions.get("napari-dinoad") != __version__:
            return None
        table = {
            name.removeprefix(_CALIBRATION): array
            for name, array in arrays.items()
            if name.startswith(_CALIBRATION)
        }
        return card_of(
            {
                member["name"]: {
                    **member["settings"],
                    "settings": asdict(_SETTINGS[member["name"]](**member["settings"]["settings"])),
                }
                for member in document["planes"][0]["members"]
            },
            [plane["plane"] for plane in document["planes"]],
            BackboneIdentity.from_dict(document["backbone"]),
            stored_preprocessing(document["preprocessing"]),
            Calibration.from_stored(table, document["calibration"]),
            float(document["calibration"]["smoothing_mm"]),
            sum(sum(plane.get("n_level_slices", ())) for plane in document["planes"]),
            sum(plane.get("n_kept_patches", 0) for plane in document["planes"]),
            provenance,
        )
    except (LookupError, TypeError, ValueError, AttributeError, DinoadError):
        return None

"""The normative model: everything needed to score a patient's scan like the normal ones, in one file.

A model looks at scans in one plane or several, and in each with one scorer or several; what they say is combined
in p-space and calibrated again. The file (``.dinoad``) is a safetensors file: tensors of the scorers and the
calibrations, and one JSON document in its metadata. It holds no pickle, no patient name, identifier or path.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import torch

from napari_dinoad import __version__
from napari_dinoad.cohort_norms import CohortNorms
from napari_dinoad.errors import DinoadError, ModelFileError, SettingError, first_line
from napari_dinoad.fingerprints import store_fingerprints, stored_fingerprints
from napari_dinoad.model_file import read_model_file, write_model_file
from napari_dinoad.model_format import fault_of_other_version
from napari_dinoad.plane_model import (
    Member,
    PlaneModel,
    store_calibration,
    store_plane,
    stored_calibration,
    stored_plane,
)
from napari_dinoad.settings import MODEL_FORMAT_VERSION, CalibrationSettings, PreprocessingSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from napari_dinoad.calibration import Calibration
    from napari_dinoad.fit_report import FitReport
    from napari_dinoad.scoring.protocol import Scorer
    from napari_dinoad.settings import Plane

__all__ = [
    "FORMAT_VERSION",
    "BackboneIdentity",
    "Member",
    "NormativeModel",
    "PlaneModel",
    "Provenance",
]

FORMAT_VERSION = MODEL_FORMAT_VERSION
"""Version of the file's layout; a file of another version is refused."""


_BACKBONE_KINDS = {"name": str, "weights_sha256": str, "embedding_dim": int, "patch_size_px": int}
_PROVENANCE_KINDS = {
    **dict.fromkeys(("n_scans", "n_slices", "n_persons", "n_merged", "seed"), int),
    "created": str,
    "versions": dict,
    "reading": list,
}
"""Types of what a model file says of its backbone and of how it came about."""


@dataclass(frozen=True)
class BackboneIdentity:
    """Which backbone a model was fitted with; scoring with another one is refused."""

    name: str
    weights_sha256: str
    embedding_dim: int
    patch_size_px: int

    def require_weights(self, weights_sha256: str) -> None:
        """Raise `ModelFileError` if the weights at hand are not those that the model was fitted with."""
        if weights_sha256 != self.weights_sha256:
            raise ModelFileError(
                f"Weights of {self.name}: expected SHA-256 {self.weights_sha256[:12]}…, got "
                f"{weights_sha256[:12]}…; the model was fitted with other weights. "
                "Use those, or fit the model again with these."
            )


@dataclass(frozen=True)
class Provenance:
    """How a model came about: counts and versions only.

    Attributes
    ----------
    n_scans, n_slices : int
        Normal scans and slices behind it, of all fits that it was made from.
    n_persons : int
        Persons that these scans are of, as far as the fits could tell; 0 means as many as scans.
    seed : int
    n_merged : int
        How many fitted models were merged into it; 1 for a model that was fitted.
    reading : tuple of str
        How the normal scans were read, where that was not plain (`ReadSettings.words`).
    """

    n_scans: int
    n_slices: int
    seed: int
    n_merged: int = 1
    created: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    versions: dict[str, str] = field(
        default_factory=lambda: {
            "napari-dinoad": __version__,
            "torch": str(torch.__version__),
            "python": python_version(),
        }
    )
    reading: tuple[str, ...] = ()
    n_persons: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "n_persons", self.n_persons or self.n_scans)
        # A list when it comes from a file.
        object.__setattr__(self, "reading", tuple(self.reading))


@dataclass(frozen=True, eq=False, repr=False)
class NormativeModel:
    """A fitted model of normal.

    Attributes
    ----------
    planes : tuple of PlaneModel
        One for each slicing direction.
    backbone : BackboneIdentity
    preprocessing : PreprocessingSettings
        With ``resolution_px`` set.
    calibration : Calibration
        Of the map that the model makes.
    scan_top_fraction : float
        See `CalibrationSettings.scan_top_fraction`.
    smoothing_mm : float
        See `CalibrationSettings.smoothing_mm`.
    provenance : Provenance
    cohorts : tuple of CohortNorms
        What the normal scans were like: one for each fit that the model was made from; none if that is not known.
    fit_report : FitReport, optional
        Only on a model that was just fitted, not on a loaded one.
    fingerprints : tuple of int
        Of the normal scans behind a model that scans can be added to; see `napari_dinoad.fingerprints`.
    """

    planes: tuple[PlaneModel, ...]
    backbone: BackboneIdentity
    preprocessing: PreprocessingSettings
    calibration: Calibration
    scan_top_fraction: float
    smoothing_mm: float
    provenance: Provenance
    cohorts: tuple[CohortNorms, ...] = ()
    fit_report: FitReport | None = None
    fingerprints: tuple[int, ...] = ()

    def __repr__(self) -> str:
        planes = ", ".join(plane.plane for plane in self.planes)
        of = f"{self.provenance.n_scans} scans of {self.provenance.n_persons} persons"
        preset = self.preprocessing.preset
        return f"<NormativeModel: {self.scorer_name} on {self.backbone.name}, {preset}, {planes}, {of}>"

    @property
    def scorer_name(self) -> str:
        """The name of its scorer, or the names of several joined by ``+``."""
        return "+".join(member.scorer.name for member in self.planes[0].members)

    @property
    def scorer(self) -> Scorer:
        """The scorer of a model that has only one.

        Raises
        ------
        SettingError
            If it has several scorers or planes.
        """
        if len(self.planes) > 1 or len(self.planes[0].members) > 1:
            raise SettingError(
                f"Model: expected one with a single scorer and plane, got {self.scorer_name} in "
                f"{', '.join(plane.plane for plane in self.planes)}. Fit one with a single scorer and plane."
            )
        return self.planes[0].members[0].scorer

    def in_plane(self, plane: Plane) -> NormativeModel:
        """Return the model of one of its planes alone, as it would have been fitted alone.

        But for its rates where there are other planes: they are as counted on the normal scans, not measured on
        left-out ones (see `Level.for_new_persons`), as the planes are fused.

        Raises
        ------
        SettingError
            If it has no such plane.
        """
        for own in self.planes:
            if own.plane == plane:
                return replace(
                    self,
                    planes=(own,),
                    preprocessing=replace(self.preprocessing, plane=plane),
                    calibration=own.calibration,
                    fit_report=None,
                )
        names = ", ".join(own.plane for own in self.planes)
        raise SettingError(f"Plane of the model: expected one of {names}, got {plane!r}.")

    def with_scorer(
        self,
        scorer: Scorer,
        calibration: Calibration,
        alone: Calibration | None = None,
        noise_share: float = 1.0,
    ) -> NormativeModel:
        """Return this model of a single scorer with another scorer of its kind in place, and without fit report.

        Parameters
        ----------
        scorer : Scorer
        calibration : Calibration
        alone : Calibration, optional
            Of slices scored each for itself; see `PlaneModel.alone`.
        noise_share : float
            See `PlaneModel.noise_share`.

        Raises
        ------
        SettingError
            If it has several scorers or planes.
        """
        if scorer.name != self.scorer.name:
            raise SettingError(f"Scorer: expected another {self.scorer.name!r}, got {scorer.name!r}.")
        name = self.planes[0].plane
        single = None if alone is None else PlaneModel(name, (Member(scorer, alone),), alone)
        plane = PlaneModel(name, (Member(scorer, calibration),), calibration, single, noise_share)
        return replace(self, planes=(plane,), calibration=calibration, fit_report=None)

    def save(self, path: str | Path) -> Path:
        """Write the model, atomically.

        Raises
        ------
        DinoadError
            If the place cannot be written.
        """
        path = Path(path)
        write_model_file(path, *self._stored())
        return path

    def _stored(self) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
        """Return the document, without checksum, and the tensors that a file of the model holds."""
        tensors: dict[str, torch.Tensor] = {}
        entries = [store_plane(plane, len(self.planes) > 1, tensors) for plane in self.planes]
        counts = store_calibration(self.calibration, "", tensors)
        store_fingerprints(self.fingerprints, tensors)
        return self._document(entries, counts), tensors

    def _document(self, planes: list[dict[str, Any]], counts: dict[str, Any]) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "scorer": self.scorer_name,
            "planes": planes,
            "backbone": asdict(self.backbone),
            "preprocessing": self.preprocessing.stored(),
            "calibration": {
                **counts,
                "scan_top_fraction": self.scan_top_fraction,
                "smoothing_mm": self.smoothing_mm,
            },
            "provenance": asdict(self.provenance),
            "cohorts": [cohort.to_dict() for cohort in self.cohorts],
        }

    @classmethod
    def load(cls, path: str | Path) -> NormativeModel:
        """Read a model.

        Raises
        ------
        ModelFileError
            If the file is missing, no model, of another version, or incomplete.
        """
        path = Path(path)
        document, tensors, is_whole = read_model_file(path)
        try:
            model = cls._from_document(document, tensors)
        except (LookupError, TypeError, ValueError, AttributeError, DinoadError) as error:
            if is_whole:
                raise fault_of_other_version(path, document, first_line(error)) from error
            if isinstance(error, ModelFileError):
                raise ModelFileError(f"{path}: {error}") from error
            raise ModelFileError(
                f"{path}: the model is incomplete ({type(error).__name__}: {error}). Fit or copy it again."
            ) from error
        if not is_whole:
            raise ModelFileError(
                f"{path}: damaged or changed since it was written (its checksum differs). Fit or copy it again."
            )
        unknown = model._lacking(document, tensors)
        if unknown:
            raise fault_of_other_version(path, document, f"not known: {', '.join(unknown)}")
        return model

    def _lacking(self, document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> list[str]:
        """Return what a file holds that was not taken up: scoring without it would silently be another thing."""
        own_document, own_tensors = self._stored()
        unknown = sorted(set(tensors) - set(own_tensors))
        return unknown + [".".join(place) for place in _names(document) - _names(own_document)]

    @classmethod
    def _from_document(cls, document: dict[str, Any], tensors: dict[str, torch.Tensor]) -> NormativeModel:
        preprocessing: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in document["preprocessing"].items()
        }
        calibration = stored_calibration(document["calibration"], "", tensors)
        of_scans = CalibrationSettings(
            scan_top_fraction=float(document["calibration"]["scan_top_fraction"]),
            smoothing_mm=float(document["calibration"]["smoothing_mm"]),
        )
        entries = document["planes"]
        whole = calibration if len(entries) == 1 else None
        planes = [stored_plane(entry, whole, tensors) for entry in entries]
        model = cls(
            tuple(planes),
            BackboneIdentity(**_of_kinds(document["backbone"], _BACKBONE_KINDS)),
            PreprocessingSettings(**preprocessing),
            calibration,
            of_scans.scan_top_fraction,
            of_scans.smoothing_mm,
            Provenance(**_of_kinds(document["provenance"], _PROVENANCE_KINDS)),
            tuple(CohortNorms.from_dict(stored) for stored in document.get("cohorts", [])),
            fingerprints=stored_fingerprints(tensors),
        )
        _require_whole(model, document["scorer"])
        return model

    def on_device(self, device: torch.device) -> NormativeModel:
        """Return the model with scorers that compute on ``device``; one that is loaded computes on the CPU."""
        return replace(self, planes=tuple(plane.on_device(device) for plane in self.planes))

    def without_report(self) -> NormativeModel:
        """Return the model without its fit report (as it would be loaded)."""
        return replace(self, fit_report=None)

    def card(self) -> dict[str, Any]:
        """Return what the model is, as JSON values, for people and for ``dinoad info``."""
        settings = {m.scorer.name: dict(m.scorer.state().settings) for m in self.planes[0].members}
        return {
            "format_version": FORMAT_VERSION,
            "scorer": self.scorer_name,
            "scorer_settings": settings if len(settings) > 1 else next(iter(settings.values())),
            "planes": [plane.plane for plane in self.planes],
            "backbone": asdict(self.backbone),
            "preprocessing": asdict(self.preprocessing),
            "calibration": {
                "method": self.calibration.method,
                "n_scans": self.calibration.n_scans,
                "n_persons": self.calibration.n_persons,
                "n_voxels": self.calibration.n_voxels,
                "smallest_scan_p_value": self.calibration.smallest_scan_p_value,
                "resolved_neg_log10_p": round(self.calibration.resolved_neg_log10_p, 3),
                "smoothing_mm": self.smoothing_mm,
            },
            **asdict(self.provenance),
            "use": "Research use only; not a medical device.",
        }


def _of_kinds(stored: dict[str, Any], kinds: Mapping[str, type]) -> dict[str, Any]:
    """Return JSON values by name; `TypeError` if one that is there is of another type."""
    for name, kind in kinds.items():
        if not isinstance(stored.get(name, kind()), kind):
            raise TypeError(f"{name}: expected {kind.__name__}, got {type(stored[name]).__name__}")
    return stored


def _require_whole(model: NormativeModel, scorer: str) -> None:
    """Refuse a model that lacks a plane or a scorer that it says it has."""
    got = [(plane.plane, "+".join(m.scorer.name for m in plane.members)) for plane in model.planes]
    expected = [(plane, scorer) for plane in model.preprocessing.planes]
    if got != expected:
        raise ModelFileError(f"planes and scorers: expected {expected}, got {got}. Fit or copy it again.")


def _names(value: object, place: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Return the names of all that lies in JSON values, each with those of what it lies in."""
    parts: list[tuple[str, object]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = [(str(number), part) for number, part in enumerate(value)]
    names = {(*place, name) for name, _ in parts}
    return names.union(*(_names(part, (*place, name)) for name, part in parts))

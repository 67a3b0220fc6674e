"""The normative model: everything needed to score a patient's scan like the normal ones, in one file.

A model looks at scans in one plane or several, and in each with one scorer or several; what they say is combined
in p-space and calibrated again. The file (``.dinoad``) is a safetensors file: tensors of the scorers and the
calibrations, and one JSON document in its metadata. It holds no pickle, no patient name, identifier or path.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_dinoad.errors import DinoadError, ModelFileError, SettingError, first_line
from napari_dinoad.normative_model.card import card_of, stored_preprocessing
from napari_dinoad.normative_model.cohort_norms import CohortNorms
from napari_dinoad.normative_model.file import read_model_file, write_model_file
from napari_dinoad.normative_model.fingerprints import store_fingerprints, stored_fingerprints
from napari_dinoad.normative_model.format import fault_of_other_version
from napari_dinoad.normative_model.plane_model import (
    Member,
    PlaneModel,
    store_calibration,
    store_plane,
    stored_calibration,
    stored_plane,
)
from napari_dinoad.normative_model.provenance import BackboneIdentity, Provenance
from napari_dinoad.settings import MODEL_FORMAT_VERSION, CalibrationSettings

if TYPE_CHECKING:
    import torch

    from napari_dinoad.calibration import Calibration
    from napari_dinoad.normative_model.fit_report import FitReport
    from napari_dinoad.normative_model.held_out_patches import HeldOutPatches
    from napari_dinoad.normative_model.slice_levels import SliceLevels
    from napari_dinoad.scoring.protocol import Scorer
    from napari_dinoad.settings import Plane, PreprocessingSettings

__all__ = ["NormativeModel", "require_model"]


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
        Of the normal scans behind the model; see `fingerprint_of`.
    path : Path, optional
        The file that it was loaded from, which messages name.
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
    path: Path | None = None

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
        """Return the model of one of its planes alone, as it would have been fitted alone, but for its rates.

        Of a model of several planes, each plane's own rates are those counted on the normal scans. They are not
        corrected for new persons (see `Level.for_new_persons`): only the rates of what is fused of all planes are.

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
        levels: tuple[SliceLevels, ...] = (),
        patches: HeldOutPatches | None = None,
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
        levels : tuple of SliceLevels
            See `PlaneModel.levels`.
        patches : HeldOutPatches, optional
            See `PlaneModel.patches`.

        Raises
        ------
        SettingError
            If it has several scorers or planes.
        """
        if scorer.name != self.scorer.name:
            raise SettingError(f"Scorer: expected another {self.scorer.name!r}, got {scorer.name!r}.")
        name = self.planes[0].plane
        single = None if alone is None else PlaneModel(name, (Member(scorer, alone),), alone)
        members = (Member(scorer, calibration),)
        plane = PlaneModel(name, members, calibration, single, noise_share, levels, patches)
        return replace(self, planes=(plane,), calibration=calibration, fit_report=None, path=None)

    def without_patches(self) -> NormativeModel:
        """Return this model without embeddings of held-out patches; see `PlaneModel.patches`."""
        return replace(self, planes=tuple(replace(plane, patches=None) for plane in self.planes), path=None)

    def require_weights(self, weights_sha256: str) -> None:
        """Refuse a backbone with other weights than the model was fitted with; the `ModelFileError` names its file.

        Parameters
        ----------
        weights_sha256 : str
            See `napari_dinoad.backbones.embeddings.weights_identity`.
        """
        if weights_sha256 != self.backbone.weights_sha256:
            raise ModelFileError(
                f"{'' if self.path is None else f'{self.path}: '}Weights of {self.backbone.name}: expected SHA-256 "
                f"{self.backbone.weights_sha256[:12]}…, got {weights_sha256[:12]}…; the model was fitted with other "
                "weights. Use those, or fit the model again with these."
            )

    def save(self, path: str | Path) -> Path:
        """Write the model, atomically.

        Parameters
        ----------
        path : str or Path
            Its name usually ends in ``.dinoad``.

        Returns
        -------
        Path

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
            "format_version": MODEL_FORMAT_VERSION,
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
        """Read a model; it computes on the CPU until a `Detector` takes it.

        Parameters
        ----------
        path : str or Path

        Returns
        -------
        NormativeModel
            With ``path`` set, and without ``fit_report``, which lies beside it.

        Raises
        ------
        ModelFileError
            If the file is missing, no model, of another version, or incomplete.
        """
        path = Path(path)
        document, tensors, is_whole = read_model_file(path)
        try:
            model = cls._from_document(document, tensors, path)
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
    def _from_document(
        cls, document: dict[str, Any], tensors: dict[str, torch.Tensor], path: Path
    ) -> NormativeModel:
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
            BackboneIdentity.from_dict(document["backbone"]),
            stored_preprocessing(document["preprocessing"]),
            calibration,
            of_scans.scan_top_fraction,
            of_scans.smoothing_mm,
            Provenance.from_dict(document["provenance"]),
            tuple(CohortNorms.from_dict(stored) for stored in document.get("cohorts", [])),
            fingerprints=stored_fingerprints(tensors),
            path=path,
        )
        _require_whole(model, document["scorer"])
        return model

    def on_device(self, device: torch.device) -> NormativeModel:
        """Return the model with scorers that compute on ``device``; one that is loaded computes on the CPU."""
        return replace(self, planes=tuple(plane.on_device(device) for plane in self.planes))

    def card(self) -> dict[str, Any]:
        """Return what the model is, as JSON values, for people and for ``dinoad info``."""
        return card_of(
            {member.scorer.name: member.scorer.state().settings for member in self.planes[0].members},
            [plane.plane for plane in self.planes],
            self.backbone,
            self.preprocessing,
            self.calibration,
            self.smoothing_mm,
            sum(levels.n_slices for plane in self.planes for levels in plane.levels),
            sum(len(plane.patches) for plane in self.planes if plane.patches is not None),
            self.provenance,
        )


def _require_whole(model: NormativeModel, scorer: str) -> None:
    """Refuse a model that lacks a plane or a scorer that it says it has."""
    got = [(plane.plane, "+".join(m.scorer.name for m in plane.members)) for plane in model.planes]
    expected = [(plane, scorer) for plane in model.preprocessing.planes]
    if got != expected:
        raise ModelFileError(f"planes and scorers: expected {expected}, got {got}. Fit or copy it again.")
    for plane in model.planes:
        if any(len(levels.levels) != len(plane.members) for levels in plane.levels):
            raise ModelFileError("levels of slices: expected those of each scorer. Fit or copy it again.")
        kept, expected_dim = plane.patches, model.backbone.embedding_dim
        if kept is not None and kept.embeddings.shape[1] != expected_dim:
            raise ModelFileError(
                f"held-out patches: expected embeddings of {expected_dim} numbers, got "
                f"{kept.embeddings.shape[1]}. Fit or copy it again."
            )


def _names(value: object, place: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    """Return the names of all that lies in JSON values, each with those of what it lies in."""
    parts: list[tuple[str, object]] = []
    if isinstance(value, dict):
        parts = list(value.items())
    elif isinstance(value, list | tuple):
        parts = [(str(number), part) for number, part in enumerate(value)]
    names = {(*place, name) for name, _ in parts}
    return names.union(*(_names(part, (*place, name)) for name, part in parts))


def require_model(model: object, what: str = "model") -> None:
    """Raise `SettingError` unless it is a `NormativeModel`; ``what`` is what it was given as."""
    if not isinstance(model, NormativeModel):
        raise SettingError(
            f"{what}: expected a NormativeModel, got {type(model).__name__}. Read a file with "
            "NormativeModel.load(path)."
        )

"""Models fitted at several hospitals → one model, without an image."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from napari_dinoad.errors import ModelFileError, SettingError
from napari_dinoad.normative_model.fingerprints import in_order
from napari_dinoad.normative_model.model import NormativeModel, require_model
from napari_dinoad.normative_model.provenance import Provenance
from napari_dinoad.pipeline.fit.fitted_planes import hash_of_mixture
from napari_dinoad.pipeline.fit.joined_calibrations import joined, rescored
from napari_dinoad.pipeline.fit.patch_scores import scores_in_joint
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer
from napari_dinoad.settings.checks import require

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["merge_models", "require_mixture", "with_earlier_counts"]


def merge_models(models: Sequence[NormativeModel]) -> NormativeModel:
    """Merge models of the Dirichlet-process mixture: the model of all their normal scans.

    The components are put together, each with the number of patches that it stands for, and alike ones are merged
    (see `DpmmScorer.merged`). The calibrations are joined by counts (see ``joined_calibrations``); the numbers of
    scans and slices add. The order of the models has no influence on the mixture.

    Parameters
    ----------
    models : sequence of NormativeModel
        At least two, of one backbone (with the same weights), preprocessing and kind of mixture.

    Raises
    ------
    SettingError
        If there are fewer than two, two are the same or were fitted on the same scan, or a model has another scorer
        than ``dpmm``.
    ModelFileError
        If the models do not go together; the message says what differs.
    """
    require(isinstance(models, Iterable), "Models to merge", "at least 2", models)
    models = tuple(models)
    for number, model in enumerate(models, start=1):
        require_model(model, f"Models to merge, number {number}")
    if len(models) < 2:
        raise SettingError(f"Models to merge: expected at least 2, got {len(models)}.")
    scorers = [require_mixture(model, "merged") for model in models]
    first = models[0]
    for number in range(2, len(models) + 1):
        _require_alike(models, number)
    _require_different(models, scorers)
    _require_other_scans(models)
    merged = DpmmScorer.merged(scorers)
    provenance = Provenance(
        sum(model.provenance.n_scans for model in models),
        sum(model.provenance.n_slices for model in models),
        first.provenance.seed,
        n_merged=sum(model.provenance.n_merged for model in models),
        reading=_readings(models),
        n_persons=sum(model.provenance.n_persons for model in models),
    )
    cohorts = tuple(cohort for model in models for cohort in model.cohorts)
    known = [
        rescored(model, partial(scores_in_joint, number, scorers, merged))
        for number, model in enumerate(models)
    ]
    whole = replace(joined(first, known, scorers, merged), provenance=provenance, cohorts=cohorts)
    return replace(whole, fingerprints=_fingerprints(models))


def _number(models: Sequence[NormativeModel], number: int) -> str:
    """Return the number of a model, from 1, with its file's name where it has one."""
    path = models[number - 1].path
    return f"{number}" if path is None else f"{number} ({path.name})"


def _require_different(models: Sequence[NormativeModel], scorers: Sequence[DpmmScorer]) -> None:
    places: dict[str, int] = {}
    for number, scorer in enumerate(scorers, start=1):
        same = places.setdefault(hash_of_mixture(scorer), number)
        if same != number:
            raise SettingError(
                f"Models {_number(models, same)} and {_number(models, number)} are the same model: its scans would "
                "count twice. Leave one out."
            )


def _require_other_scans(models: Sequence[NormativeModel]) -> None:
    """Refuse models that some scan is behind twice."""
    for number, model in enumerate(models, start=1):
        for other, earlier in enumerate(models[: number - 1], start=1):
            shared = len(set(earlier.fingerprints).intersection(model.fingerprints))
            if shared:
                raise SettingError(
                    f"Models {_number(models, other)} and {_number(models, number)}: expected models of different "
                    f"scans, got {shared} {'scan that is' if shared == 1 else 'scans that are'} behind both and "
                    "would count twice. Leave one of them out, or fit one of them again without these scans."
                )


def _fingerprints(models: Sequence[NormativeModel]) -> tuple[int, ...]:
    return in_order(fingerprint for model in models for fingerprint in model.fingerprints)


def with_earlier_counts(
    updated: NormativeModel, earlier: NormativeModel, newcomers: DpmmScorer | None
) -> NormativeModel:
    """Return an updated model with what is known of the earlier one's scans: their calibration and their numbers.

    Parameters
    ----------
    updated : NormativeModel
        Its mixture holds the earlier one; its calibration and counts are of the new scans alone.
    earlier : NormativeModel
    newcomers : DpmmScorer, optional
        Clusters of the new scans alone, by which the patches that the earlier model keeps are scored; None: its
        calibration stays as it is.
    """
    mixture, before = require_mixture(updated, "updated"), require_mixture(earlier, "updated")
    # The new scans were scored by mixtures that held the earlier one, like the whole.
    known = earlier
    if newcomers is not None:
        known = rescored(earlier, partial(scores_in_joint, 0, [before, newcomers], mixture))
    whole = joined(updated, [known, updated], [before, mixture], mixture)
    old, new = earlier.provenance, updated.provenance
    provenance = replace(
        new,
        n_scans=old.n_scans + new.n_scans,
        n_slices=old.n_slices + new.n_slices,
        n_merged=old.n_merged,
        n_persons=old.n_persons + new.n_persons,
        reading=_readings([earlier, updated]),
    )
    cohorts = (*earlier.cohorts, *updated.cohorts)
    return replace(
        whole,
        provenance=provenance,
        cohorts=cohorts,
        fit_report=updated.fit_report,
        fingerprints=_fingerprints([earlier, updated]),
    )


def _readings(models: Sequence[NormativeModel]) -> tuple[str, ...]:
    """Return how the normal scans of any of the models were read, each way once."""
    return tuple(dict.fromkeys(told for model in models for told in model.provenance.reading))


def _is_mixture(model: NormativeModel) -> bool:
    """Return whether a model is a Dirichlet-process mixture alone: scans can be added without those before."""
    is_one = len(model.planes) == 1 and len(model.planes[0].members) == 1
    return is_one and isinstance(model.scorer, DpmmScorer)


def require_mixture(model: NormativeModel, done: str) -> DpmmScorer:
    """Return the model's scorer if it is a Dirichlet-process mixture alone; a `SettingError` says that others cannot.

    Parameters
    ----------
    model : NormativeModel
    done : str
        What should be done with it: ``"merged"`` or ``"updated"``.
    """
    if not _is_mixture(model):
        planes = [plane.plane for plane in model.planes]
        of = "" if model.path is None else f" of {model.path}"
        in_planes = f" in the planes {', '.join(planes)}" if len(planes) > 1 else ""
        raise SettingError(
            f"Scorer: only models of the scorer 'dpmm' alone, in one plane, can be {done} without the scans that "
            f"they were fitted on, got {model.scorer_name!r}{in_planes}{of}. Fit a new model on all scans, or use "
            "--scorer dpmm and one plane."
        )
    return cast("DpmmScorer", model.scorer)


def _require_alike(models: Sequence[NormativeModel], number: int) -> None:
    first, other = models[0], models[number - 1]
    differences = [
        *_differences("backbone", asdict(first.backbone), asdict(other.backbone)),
        *_differences("preprocessing", asdict(first.preprocessing), asdict(other.preprocessing)),
    ]
    mixtures = (first.scorer.state().settings["settings"], other.scorer.state().settings["settings"])
    kept = ("covariance", "score", "min_weight", "regularisation")
    differences += _differences("dpmm", *({name: mixture[name] for name in kept} for mixture in mixtures))
    if first.scan_top_fraction != other.scan_top_fraction:
        differences.append(f"scan top fraction {first.scan_top_fraction} and {other.scan_top_fraction}")
    if first.smoothing_mm != other.smoothing_mm:
        differences.append(f"smoothing across slices {first.smoothing_mm} and {other.smoothing_mm} mm")
    if differences:
        raise ModelFileError(
            f"Models to merge: expected models of one backbone and preprocessing, got in number {_number(models, 1)} "
            f"and number {_number(models, number)}: {'; '.join(differences)}. Fit them with the same settings."
        )


def _differences(what: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Return what differs, in words; the name of the preset that settings began with does not count."""
    return [
        f"{what} {name.replace('_', ' ')} {_short(one[name])} and {_short(other[name])}"
        for name in one
        if name != "preset" and one[name] != other[name]
    ]


def _short(value: Any) -> str:
    text = str(value)
    return f"{text[:12]}…" if len(text) > 40 else text

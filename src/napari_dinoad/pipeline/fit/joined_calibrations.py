"""Calibrations of several mixtures → that of the mixture of all their patches."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.calibration import Calibration
from napari_dinoad.normative_model.held_out_patches import HeldOutPatches
from napari_dinoad.normative_model.slice_levels import SliceLevels, common_units
from napari_dinoad.pipeline.slices.slice_smoothing import is_like

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.normative_model.plane_model import PlaneModel
    from napari_dinoad.scoring.dpmm.scorer import DpmmScorer

__all__ = ["in_common_units", "joined", "rescored"]


def rescored(model: NormativeModel, scores: Callable[[HeldOutPatches], np.ndarray]) -> NormativeModel:
    """Return a model calibrated for other scores (n,) of the patches that it keeps, by their ratio; see `ScoreRatio`.

    One that keeps none is returned as it is.
    """
    (plane,) = model.planes
    if plane.patches is None:
        return model
    patches, ratio, ratio_of_single = plane.patches.rescored(scores(plane.patches), plane.noise_share)
    alone = None if plane.alone is None else plane.alone.calibration.scaled(ratio_of_single)
    calibration = plane.calibration.scaled(ratio)
    return model.with_scorer(model.scorer, calibration, alone, plane.noise_share, plane.levels, patches)


def joined(
    base: NormativeModel, models: Sequence[NormativeModel], scorers: Sequence[DpmmScorer], mixture: DpmmScorer
) -> NormativeModel:
    """Return ``base`` with the joint mixture and the joined calibrations of ``models``, made with ``scorers``."""
    planes = [model.planes[0] for model in models]
    alone = _join([plane.for_single_slices.calibration for plane in planes], scorers, mixture)
    # Models of single images say nothing of averaged slices; and where slices lie farther apart in one hospital than
    # in another, what is usual of averaged ones differs: then each slice is scored for itself.
    averaged = [number for number, plane in enumerate(planes) if plane.alone is not None]
    shares = [planes[number].noise_share for number in averaged]
    if not averaged or not is_like(min(shares), max(shares)):
        single = [replace(plane, patches=_of_single_slices(plane)) for plane in planes]
        return base.with_scorer(mixture, alone, patches=_pooled_patches(single))
    of_averaged, levels = in_common_units([planes[number] for number in averaged])
    calibrations = [plane.calibration for plane in of_averaged]
    calibration = _join(calibrations, [scorers[number] for number in averaged], mixture)
    return base.with_scorer(
        mixture, calibration, alone, max(shares), levels, patches=_pooled_patches(of_averaged)
    )


def _of_single_slices(plane: PlaneModel) -> HeldOutPatches | None:
    """Return the patches that a plane keeps, where each slice is for itself from now on."""
    return None if plane.patches is None else replace(plane.patches, averaged=plane.patches.scores)


def _pooled_patches(planes: Sequence[PlaneModel]) -> HeldOutPatches | None:
    """Return the patches that several planes keep, by their shares of the normal voxels; None where none does."""
    kept = [(plane.patches, plane.calibration.n_voxels) for plane in planes if plane.patches is not None]
    if not kept:
        return None
    total = sum(n_voxels for _, n_voxels in kept)
    return HeldOutPatches.pooled([patches for patches, _ in kept], [n_voxels / total for _, n_voxels in kept])


def in_common_units(planes: Sequence[PlaneModel]) -> tuple[list[PlaneModel], tuple[SliceLevels, ...]]:
    """Return planes whose calibrations hold for scores divided by the levels of slices of all planes together.

    Levels are relative: 1 is the mean of each plane's own normal slices. The units of all are therefore brought to
    their common mean, and each plane's calibration and patches are scaled to it. A plane without levels was
    calibrated on undivided scores; it gets levels that are 1 everywhere (see `SliceLevels.silent`).

    Returns
    -------
    planes : list of PlaneModel
    levels : tuple of SliceLevels
        Of each plane; empty where no plane has levels.
    """
    told = [levels for plane in planes for levels in plane.levels]
    if not told:
        return list(planes), ()
    common = common_units(told)
    scaled = [
        _times(plane, float(common / common_units(plane.levels))) if plane.levels else plane
        for plane in planes
    ]
    return scaled, tuple(
        levels for plane in planes for levels in plane.levels or (SliceLevels.silent(common),)
    )


def _times(plane: PlaneModel, factor: float) -> PlaneModel:
    """Return a plane calibrated for averaged scores that are so many times as high."""

    def ratio(scores: np.ndarray) -> np.ndarray:
        return np.full(scores.shape, factor)

    patches = plane.patches
    if patches is not None:
        patches = replace(patches, averaged=patches.averaged * factor)
    return replace(plane, calibration=plane.calibration.scaled(ratio), patches=patches)


def _join(
    calibrations: Sequence[Calibration], scorers: Sequence[DpmmScorer], mixture: DpmmScorer
) -> Calibration:
    """Join the calibrations of mixtures for the mixture of all their patches.

    Each table was made with its own mixture, of which the scorers are parts in the joint one. The joint mixture holds
    the components of each part (or ones close to them), so by it a patch is no farther from normal than by the part:
    the distances of the part bound those of the whole from above, and so do the p-values. A density loses weight, by
    the part's share w of all patches: −log p(x) ≤ −log p_part(x) − log w; the part's table is moved by that.

    Parameters
    ----------
    calibrations : sequence of Calibration
    scorers : sequence of DpmmScorer
        The mixture that each was made with.
    mixture : DpmmScorer
        The joint one.
    """
    if mixture.settings.is_of_likelihood:
        calibrations = [
            calibration.shifted(-math.log(scorer.n_patches / mixture.n_patches))
            for calibration, scorer in zip(calibrations, scorers, strict=True)
        ]
    return Calibration.joined(calibrations)

"""A cohort and what was fitted on it → the report of the fit: how usual each scan is among the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.normative_model.fit_report import FitReport, NormalScan
from napari_dinoad.pipeline.cohort.layout import unlikeness
from napari_dinoad.pipeline.cohort.order import shares_at_least, unusualness
from napari_dinoad.pipeline.cohort.outliers import grid_unlikeness

if TYPE_CHECKING:
    from collections.abc import Sequence

    from napari_dinoad.images.persons import Persons
    from napari_dinoad.normative_model.plane_model import PlaneModel
    from napari_dinoad.pipeline.cohort.preparation import Cohort
    from napari_dinoad.pipeline.fit.fitted_planes import FittedPlanes

__all__ = ["report_of_fit"]


def report_of_fit(
    cohort: Cohort, persons: Persons, fitted: FittedPlanes, seed: int, seconds: dict[str, float]
) -> FitReport:
    """Return what happened in a fit.

    Parameters
    ----------
    cohort : Cohort
    persons : Persons
        Whose the scans are.
    fitted : FittedPlanes
    seed : int
        Draws whom the scans are compared with, where there are many.
    seconds : dict of float
        By stage.
    """
    unlike = unlikeness(cohort.cache.scans, seed)
    by_grid = grid_unlikeness([scan.facts for scan in cohort.cache.scans])
    unusual = unusualness([fitted.scan_scores.get(i) for i in range(len(unlike))], unlike, by_grid)
    shares = shares_at_least(np.array([*fitted.scan_scores.values()]))
    p_values = dict(zip(fitted.scan_scores, shares.tolist(), strict=True))
    unlike_shares, grid_shares = shares_at_least(unlike).tolist(), shares_at_least(by_grid).tolist()
    scans = []
    for i, scan in enumerate(cohort.scans):
        n_slices = sum(cache.scans[i].n_slices for cache in cohort.caches.values())
        facts = cohort.cache.scans[i].facts
        scans.append(
            NormalScan(
                scan.path,
                n_slices,
                fitted.scan_scores.get(i),
                p_values.get(i),
                unlike_shares[i],
                grid_shares[i],
                float(unusual[i]),
                facts,
                scan.name,
            )
        )
    return FitReport(tuple(scans), cohort.skipped, _history(fitted.planes), seconds, persons)


def _history(planes: Sequence[PlaneModel]) -> dict[str, list[float]]:
    """Return the curves of the fits by name; with several planes or scorers, theirs are in front."""
    curves = {}
    for plane in planes:
        for member in plane.members:
            of = f"{plane.plane} " if len(planes) > 1 else ""
            of += f"{member.scorer.name} " if len(plane.members) > 1 else ""
            state = member.scorer.state()
            curves.update({f"{of}{name}": list(curve) for name, curve in state.history.items()})
    return curves

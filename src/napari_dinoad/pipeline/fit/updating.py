"""New normal scans added to a fitted model, without the scans that it was fitted on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from napari_dinoad.normative_model.model import require_model
from napari_dinoad.pipeline.fit.fitting import fit_folder
from napari_dinoad.pipeline.fit.held_out_levels import MIN_PERSONS
from napari_dinoad.pipeline.fit.merging import require_mixture
from napari_dinoad.settings import FitSettings
from napari_dinoad.settings.checks import require_kind

if TYPE_CHECKING:
    from pathlib import Path

    from napari_dinoad.normative_model.model import NormativeModel
    from napari_dinoad.progress import Progress
    from napari_dinoad.settings import CacheSettings, ClusterSettings

__all__ = ["update_model"]


def update_model(
    model: NormativeModel,
    folder: str | Path,
    settings: FitSettings | None = None,
    progress: Progress | None = None,
    cache: CacheSettings | None = None,
    out: str | Path | None = None,
    cluster: ClusterSettings | None = None,
) -> NormativeModel:
    """Add a folder of normal scans to a model of the Dirichlet-process mixture.

    The stored mixture stands for the scans of before (see ``scoring/dpmm/pooling``); components are added for what it
    does not explain. The new scans are held out in turn, as in a fit, and their calibration is joined with that of
    before by counts.

    Parameters
    ----------
    model : NormativeModel
        Stays as it is.
    folder : str or Path
        Normal scans that are not behind the model yet; at least `MIN_SCANS`.
    settings : FitSettings, optional
        Weights, device, seed, reading, epochs and calibration method; all else is the model's.
    progress, cache, out, cluster
        See `fit_folder`.

    Returns
    -------
    NormativeModel
        With a ``fit_report`` of the new scans.

    Raises
    ------
    SettingError
        If the model has another scorer than ``dpmm``, or several.
    ModelFileError
        If the backbone's weights are not those of the model, or another process has replaced ``out`` meanwhile.
    ScanReadError
        If too few scans can be used.
    """
    require_model(model)
    mixture = require_mixture(model, "updated")
    settings = settings or FitSettings()
    require_kind("settings", settings, FitSettings)
    settings = replace(
        settings,
        scorer=mixture.name,
        backbone=model.backbone.name,
        preprocessing=model.preprocessing,
        plane=None,
        resolution_px=None,
        calibration=replace(
            settings.calibration,
            scan_top_fraction=model.scan_top_fraction,
            smoothing_mm=model.smoothing_mm,
            slice_levels=_is_levelled(model),
        ),
        dpmm=mixture.settings,
    )
    return fit_folder(folder, settings, progress, cache, out, cluster, earlier=model)


def _is_levelled(model: NormativeModel) -> bool:
    """Return whether averaged scores are divided by levels of slices in a model, or only few persons hinder that."""
    (plane,) = model.planes
    return bool(plane.levels) or plane.alone is None or plane.calibration.n_persons < MIN_PERSONS

"""Sample data: generated heads, so that the plugin can be tried without any scan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from napari_dinoad.gui.viewer.layers import LayerTuple, layer_of_volume
from napari_dinoad.settings import DEMO_SCAN_SHAPE

if TYPE_CHECKING:
    from napari_dinoad.phantom import PhantomPatient

__all__ = ["normal_volume", "patient_slice", "patient_volume"]

_NORMAL_SEED = 500_000
"""No cohort draws this one, so that the sample is none of the scans that a demo model has seen."""

_PATIENT_SEED = 1_500_002
"""A patient whose lesion the demo's model finds first. `dinoad demo` tells how it does on five that nobody chose."""

_PATIENT_KIND = "bright-rim"

_PATIENT_NAME = "patient"


def normal_volume() -> list[LayerTuple]:
    """Return a normal head (npe2 sample data contribution)."""
    from napari_dinoad.phantom import make_normal

    return [layer_of_volume(replace(make_normal(_NORMAL_SEED, DEMO_SCAN_SHAPE), name="normal"))]


def patient_volume() -> list[LayerTuple]:
    """Return a head with a lesion, and the truth as a hidden layer (npe2 sample data contribution)."""
    from napari_dinoad.phantom import make_patient

    return _with_truth(make_patient(_PATIENT_SEED, _PATIENT_KIND, DEMO_SCAN_SHAPE))


def patient_slice() -> list[LayerTuple]:
    """Return one slice of a head with a lesion, in pixels (npe2 sample data contribution)."""
    from napari_dinoad.phantom import make_patient_slice

    return _with_truth(make_patient_slice(_PATIENT_SEED, _PATIENT_KIND))


def _with_truth(patient: PhantomPatient) -> list[LayerTuple]:
    values, arguments, kind = layer_of_volume(replace(patient.volume, name=_PATIENT_NAME))
    truth = patient.lesion_mask.reshape(values.shape).astype(np.uint8)
    shared = {
        key: arguments[key] for key in ("affine", "units", "axis_labels", "metadata") if key in arguments
    }
    name = f"{arguments['name']} · true lesion"
    return [(truth, shared | {"name": name, "visible": False}, "labels"), (values, arguments, kind)]

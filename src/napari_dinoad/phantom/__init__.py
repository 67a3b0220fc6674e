"""Procedural normal and abnormal head scans for samples, demo and tests."""

from __future__ import annotations

from napari_dinoad.phantom.cohort import PhantomCohort, write_cohort
from napari_dinoad.phantom.lesions import KINDS, LesionKind
from napari_dinoad.phantom.scanner import FIELD_OF_VIEW_MM, SHAPE
from napari_dinoad.phantom.scans import (
    PhantomPatient,
    make_normal,
    make_patient,
    make_patient_slice,
    make_slice,
)

__all__ = [
    "FIELD_OF_VIEW_MM",
    "KINDS",
    "SHAPE",
    "LesionKind",
    "PhantomCohort",
    "PhantomPatient",
    "make_normal",
    "make_patient",
    "make_patient_slice",
    "make_slice",
    "write_cohort",
]

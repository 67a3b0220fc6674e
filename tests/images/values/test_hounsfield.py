"""Slices of CT, told by their values alone."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.images.values.hounsfield import are_hounsfield, modality_note


def ct_slice(seed=0):
    """Return a slice of a trunk in air, with noise: air, its skin, and what is within."""
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((96, 96)) - 48
    distance = np.hypot(rows, 0.8 * columns)
    values = np.where(distance < 30, 40.0, np.where(distance < 33, -500.0, -1000.0))
    return (values + rng.normal(0, 12, values.shape)).astype(np.float32)[np.newaxis]


@pytest.mark.parametrize("padding", [None, -1024, -2048, -3024, -32768])
def test_a_slice_of_ct_is_one_whatever_lies_around_its_field_of_view(padding):
    values = ct_slice()
    if padding is not None:
        values[0, :, :9] = padding
    assert are_hounsfield(values)


def test_what_has_several_values_far_below_air_is_no_ct():
    """Maps of phase or velocity may have as much at −1000 as CT has air."""
    values = ct_slice()
    values[0, :, :9] = np.random.default_rng(1).uniform(-4096, -1100, (96, 9))
    assert not are_hounsfield(values)


@pytest.mark.parametrize("missing", ["air", "skin", "tissue"])
def test_a_slice_without_air_without_skin_or_without_tissue_is_no_ct(missing):
    values = ct_slice()
    low, high = {"air": (-1200, -900), "skin": (-900, -200), "tissue": (-200, 200)}[missing]
    values[(values > low) & (values < high)] = 3000
    assert not are_hounsfield(values)


@pytest.mark.parametrize(
    ("preset", "of_normals", "is_told"),
    [
        ("mr-brain", (), True),
        ("mr-slices", (), False),
        ("mr-slices", (False,), True),
        ("mr-slices", (True,), False),
        ("mr-slices", (False, True), False),
    ],
)
def test_ct_is_told_where_no_normal_scan_is(preset, of_normals, is_told):
    """Slices of CT may be fitted by `mr-slices`, too."""
    assert ("looks like CT" in modality_note(preset, True, of_normals)) == is_told

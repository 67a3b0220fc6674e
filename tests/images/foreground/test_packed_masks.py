"""Masks of one bit a voxel, compared with SciPy on masks of one byte a voxel."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import ndimage

from napari_dinoad.images.foreground import packed_masks
from napari_dinoad.images.foreground.packed_masks import (
    box_around,
    closed_parts,
    dilated,
    eroded,
    large_parts,
    packed,
    span,
    unpacked,
)

# A single slice has no neighbours across; rows of more than 52 voxels take more than one word.
SHAPES = st.tuples(st.integers(1, 6), st.integers(1, 7), st.integers(1, 150))
MASKS = st.builds(
    lambda shape, share, smooth, seed: smoothed(shape, share, smooth, seed),
    SHAPES,
    st.floats(0.05, 0.95),
    st.sampled_from([0.0, 1.0, 2.0]),
    st.integers(0, 999),
)
many = settings(max_examples=40)


def smoothed(shape, share, smooth, seed):
    """Return a random mask of blobs that holds about this share of all voxels."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), smooth)
    return field < np.quantile(field, share)


def pack(mask):
    return packed(mask.shape, lambda block: mask[block])


def axes_of(mask):
    return (1, 2) if mask.shape[0] == 1 else (0, 1, 2)


def cross(axes):
    """Return the neighbours (3, 3, 3) along these axes."""
    distance = np.abs(np.indices((3, 3, 3)) - 1)
    others = [axis for axis in range(3) if axis not in axes]
    return (distance.sum(0) <= 1) & (distance[others].sum(0) == 0)


@many
@given(MASKS, st.sampled_from([1, 200, 10**6]))
def test_what_is_packed_is_unpacked(mask, packed_voxels):
    with pytest.MonkeyPatch.context() as context:
        context.setattr(packed_masks, "_PACKED_VOXELS", packed_voxels)  # a row, some rows, or all
        words = pack(mask)
    np.testing.assert_array_equal(unpacked(words, mask.shape), mask)
    assert np.bitwise_count(words).sum() == mask.sum(), "the frame is False"


@many
@given(MASKS)
def test_masks_are_eroded_and_dilated_as_by_scipy(mask):
    axes = axes_of(mask)
    for ours, theirs in ((eroded, ndimage.binary_erosion), (dilated, ndimage.binary_dilation)):
        found = unpacked(ours(pack(mask), axes), mask.shape)
        np.testing.assert_array_equal(found, theirs(mask, cross(axes)))


@many
@given(MASKS)
def test_closing_goes_beyond_the_border_as_on_a_larger_mask(mask):
    axes = axes_of(mask)
    words = pack(mask)
    for step in (dilated,) * (packed_masks.FRAME - 1) + (eroded,) * (packed_masks.FRAME - 1):
        words = step(words, axes)
    width = [(5, 5) if axis in axes else (0, 0) for axis in range(3)]
    closed = ndimage.binary_closing(np.pad(mask, width), cross(axes), iterations=packed_masks.FRAME - 1)
    inner = tuple(slice(before, -before or None) for before, _ in width)
    np.testing.assert_array_equal(unpacked(words, mask.shape), closed[inner])


@many
@given(MASKS, st.sampled_from([0, 1, 2]))
def test_a_span_goes_from_the_first_to_the_last(mask, axis):
    before = np.logical_or.accumulate(mask, axis)
    after = np.flip(np.logical_or.accumulate(np.flip(mask, axis), axis), axis)
    np.testing.assert_array_equal(unpacked(span(pack(mask), axis), mask.shape), before & after)


@many
@given(MASKS, st.sampled_from([0, 64]), st.sampled_from([0.05, 0.5, 2 / 3, 1.0]))
@example(np.zeros((2, 3, 70), dtype=bool), 0, 0.5)
@example(np.arange(2 * 3 * 70).reshape(2, 3, 70) % 2 == 0, 64, 1.0)
@example(np.arange(2 * 3 * 70).reshape(2, 3, 70) % 2 == 0, 0, 1.0)
def test_large_parts_are_those_of_a_share_of_the_largest(mask, most_runs, share):
    labels, _ = ndimage.label(mask)
    sizes = np.bincount(labels.ravel(), minlength=2)[1:]
    is_large = (sizes >= share * sizes.max()) & (sizes > 0)
    with pytest.MonkeyPatch.context() as context:
        context.setattr(packed_masks, "_MOST_RUNS", most_runs)  # by voxels, or by runs
        found, n_parts = large_parts(pack(mask), axes_of(mask)[:-1], share)
    np.testing.assert_array_equal(unpacked(found, mask.shape), np.append(False, is_large)[labels])
    assert n_parts == is_large.sum()


@many
@given(
    MASKS,
    st.sampled_from([(1, 2), (0, 2), (0, 1)]),
    st.floats(0, 0.2),
    st.integers(0, 99),
    st.sampled_from([1, 50, 2**17]),
)
def test_closed_parts_are_those_without_a_leak(mask, plane, share, seed, runs_at_a_time):
    if mask.shape[0] == 1:
        plane = (1, 2)
    leaks = mask & (np.random.default_rng(seed).random(mask.shape) < share)
    labels, n_parts = ndimage.label(mask, cross(plane))
    is_closed = np.ones(n_parts + 1, dtype=bool)
    is_closed[labels[leaks]] = False
    with pytest.MonkeyPatch.context() as context:
        context.setattr(packed_masks, "_RUNS_AT_A_TIME", runs_at_a_time)  # a slice, some, or all
        found = unpacked(closed_parts(pack(mask), pack(leaks), plane), mask.shape)
    np.testing.assert_array_equal(found, is_closed[labels] & mask)


@many
@given(MASKS, st.integers(0, 3))
def test_a_box_holds_all(mask, margin):
    words = pack(mask)
    box = box_around(words, margin)
    assert np.bitwise_count(words[box]).sum() == mask.sum()
    tight = words[box_around(words)]
    sides = [tight.any(axis=axes) for axes in ((0, 1), (0, 2), (1, 2))]
    assert not mask.any() or all(side[0] and side[-1] for side in sides)

"""Resampling and its inverse: the same millimetre on both sides."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from threadpoolctl import threadpool_limits

from napari_dinoad.images.placement import Placement

shapes = st.tuples(st.integers(5, 60), st.integers(5, 60))
spacings = st.tuples(st.floats(0.3, 5), st.floats(0.3, 5))


@settings(max_examples=60)
@given(shape=shapes, spacing=spacings, patches=st.integers(4, 16), data=st.data())
def test_linear_ramps_return_exactly(shape, spacing, patches, data):
    """A plane of values is linear: patch means of the model input, placed back, are the plane again."""
    box = tuple(
        tuple(sorted(data.draw(st.tuples(st.integers(0, n // 2 - 1), st.integers(n // 2 + 1, n)))))
        for n in shape
    )
    placement = Placement.around(shape, spacing, box, 8 * patches)
    rows, columns = np.indices(shape)
    centre_rows = (np.arange(8 * patches) + 0.5) * placement.step[0] + placement.corner[0] - 0.5
    centre_columns = (np.arange(8 * patches) + 0.5) * placement.step[1] + placement.corner[1] - 0.5
    model = 2.0 * centre_rows[:, None] - 3.0 * centre_columns[None, :]
    patch_map = model.reshape(patches, 8, patches, 8).mean(axis=(1, 3))

    placed = placement.to_slice(patch_map[np.newaxis].astype(np.float32))[0]

    half_patch = [4 * step for step in placement.step]
    inside = np.ones(shape, dtype=bool)
    for index, corner, step, half in zip(
        (rows, columns), placement.corner, placement.step, half_patch, strict=True
    ):
        centre = index + 0.5
        inside &= (centre >= corner + half) & (centre <= corner + step * 8 * patches - half)
    expected = 2.0 * rows - 3.0 * columns
    scale = max(1.0, np.abs(expected).max())
    np.testing.assert_allclose(placed[inside], expected[inside], atol=2e-4 * scale)


def test_beyond_the_outermost_patches_their_value_goes_on():
    """To the edges of the slice, whether the input ends within it or beyond it: a map does not fade there."""
    for shape, spacing in (((40, 30), (1.0, 1.3)), ((13, 50), (2.0, 0.7))):
        for box in (((0, shape[0]), (0, shape[1])), ((5, 9), (11, 15))):
            placement = Placement.around(shape, spacing, box, 32)
            placed = placement.to_slice(np.ones((1, 4, 4), np.float32))
            np.testing.assert_allclose(placed, np.ones((1, *shape)), atol=1e-6)
    placement = Placement.around((40, 40), (1.0, 1.0), ((10, 30), (10, 30)), 32)
    patch_map = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    placed = placement.to_slice(patch_map)[0]
    assert [placed[0, 0], placed[0, -1], placed[-1, 0], placed[-1, -1]] == [0, 3, 12, 15]


def test_identity_resampling_returns_the_slice():
    slices = np.random.default_rng(0).random((2, 12, 12), dtype=np.float32)
    placement = Placement.around((12, 12), (1.0, 1.0), ((0, 12), (0, 12)), 12)
    np.testing.assert_allclose(placement.to_model(slices), slices, atol=1e-6)


def test_proportions_are_kept():
    """A square in millimetres is a square on the input, whatever the voxels' shape."""
    slices = np.zeros((1, 40, 10), dtype=np.float32)
    slices[0, 10:30, 2:7] = 1  # 20 rows of 1 mm, 5 columns of 4 mm
    placement = Placement.around((40, 10), (1.0, 4.0), ((0, 40), (0, 10)), 200)
    model = placement.to_model(slices)[0] > 0.5
    height, width = np.ptp(np.nonzero(model)[0]) + 1, np.ptp(np.nonzero(model)[1]) + 1
    assert abs(height - width) <= 2
    assert height == pytest.approx(100, abs=2)


def test_shrinking_keeps_the_mean():
    slices = np.random.default_rng(1).random((1, 256, 256), dtype=np.float32)
    placement = Placement.around((256, 256), (1.0, 1.0), ((0, 256), (0, 256)), 32)
    model = placement.to_model(slices)
    assert model.mean() == pytest.approx(slices.mean(), abs=0.01)
    assert model.std() < 0.1  # averaged, not picked


def test_outside_the_slice_is_black():
    placement = Placement.around((10, 30), (1.0, 1.0), ((0, 10), (0, 30)), 30)
    model = placement.to_model(np.ones((1, 10, 30), np.float32))[0]
    assert (model[:9] == 0).all()
    assert (model[10:20] == 1).all()
    assert (model[21:] == 0).all()


def test_dictionary_round_trip():
    placement = Placement.around((10, 30), (1.0, 0.3), ((2, 9), (5, 30)), 224, 0.03)
    assert Placement.from_dict(placement.to_dict()) == placement


def test_a_coarser_input_covers_the_same_square():
    placement = Placement.around((60, 50), (1.0, 1.5), ((5, 55), (4, 44)), 128)
    coarse = placement.coarser(8)
    assert coarse.corner == placement.corner
    np.testing.assert_allclose(np.multiply(coarse.step, 8), np.multiply(placement.step, 128))
    blocks = placement.to_model(np.ones((1, 60, 50), np.float32)).reshape(1, 8, 16, 8, 16).mean((2, 4))
    np.testing.assert_allclose(coarse.to_model(np.ones((1, 60, 50), np.float32)) > 0, blocks > 0.5)


def test_the_same_bits_on_any_number_of_threads():
    """What a worker on a cluster makes of a slice must be what one process makes of it."""
    rng = np.random.default_rng(0)
    slices = rng.random((3, 231, 187), dtype=np.float32)
    patch_maps = rng.random((3, 28, 28), dtype=np.float32)
    placement = Placement.around((231, 187), (1.0, 1.0), ((11, 220), (20, 180)), 448, 0.03)

    def done(n_threads):
        with threadpool_limits(n_threads):
            return placement.to_model(slices).tobytes(), placement.to_slice(patch_maps).tobytes()

    assert done(1) == done(2) == done(4)


@pytest.mark.parametrize("resolution", [32, 448])
def test_slices_are_taken_to_the_input_by_the_weights_and_back(resolution):
    rng = np.random.default_rng(1)
    slices = rng.random((2, 60, 45), dtype=np.float32)
    placement = Placement.around((60, 45), (1.0, 1.4), ((3, 50), (5, 44)), resolution, 0.03)
    rows, columns = (weights.astype(np.float64) for weights in placement.sampling)
    np.testing.assert_allclose(placement.to_model(slices), rows @ slices @ columns.T, atol=1e-6)
    patch_maps = rng.random((2, 7, 9), dtype=np.float32)
    rows, columns = (weights.astype(np.float64) for weights in placement.interpolation((7, 9)))
    np.testing.assert_allclose(placement.to_slice(patch_maps), rows @ patch_maps @ columns.T, atol=1e-6)

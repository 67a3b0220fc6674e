"""What is unlike the others as a whole comes first, though each of its patches occurs elsewhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dinoad.images.edge_layout import EdgeLayout
from napari_dinoad.pipeline.cohort import layout as cohort_layout
from napari_dinoad.pipeline.cohort.layout import unlikeness


class StoredScan:
    """Embeddings and body of a scan, as the cache hands them out."""

    def __init__(self, maps, half_axes=(0.8, 0.6), edges=None):
        self.maps = torch.as_tensor(maps, dtype=torch.float32)
        self.n_slices = len(maps)
        self.half_axes = half_axes
        n_parts = 3 if len(maps) >= 3 else 1
        self.edges = edges or EdgeLayout(np.zeros((n_parts, 16, 16)), np.zeros((n_parts, 8, 8, 6)))

    def compute(self, function, *arguments):
        return function(self, *arguments)

    def batches(self):
        return iter(self.maps.split(2))

    def outline(self, cells):
        rows, columns = np.meshgrid(*2 * [np.linspace(-1, 1, cells)], indexing="ij")
        body = (rows / self.half_axes[0]) ** 2 + (columns / self.half_axes[1]) ** 2 < 1
        return np.repeat(body[None].astype(np.float32), self.n_slices, 0)


def make_scan(seed, n_slices=6, turn=None):
    """Return a scan whose embeddings tell slice, row and column, with noise; turned or flipped if asked for."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*(np.linspace(0, 1, n) for n in (n_slices, 8, 8)), indexing="ij")
    maps = np.stack([1 + axes[0], 1 + 2 * axes[1], 1 + axes[2] ** 2, np.ones_like(axes[0])], axis=-1)
    maps += rng.normal(0, 0.05, maps.shape)
    return StoredScan(turn(maps).copy() if turn else maps)


TURNS = {
    "quarter turn": lambda maps: np.rot90(maps, 1, (1, 2)),
    "upside down": lambda maps: maps[:, ::-1],
    "slices in reverse": lambda maps: maps[::-1],
}


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("n_references", [128, 12])
def test_turned_scans_come_first_also_when_there_are_two(turn, n_references, monkeypatch):
    monkeypatch.setattr(cohort_layout, "N_REFERENCES", n_references)
    scans = [make_scan(seed) for seed in range(20)]
    scans += [make_scan(seed, turn=TURNS[turn]) for seed in (20, 21)]
    distances = unlikeness(scans, seed=0)
    assert set(np.argsort(distances)[-2:]) == {20, 21}
    assert np.array_equal(distances, unlikeness(scans, seed=0))


def test_a_body_lying_on_its_side_comes_first_though_its_contents_are_alike():
    rng = np.random.default_rng(1)
    scans = [make_scan(seed) for seed in range(20)]
    for scan in scans:
        scan.half_axes = (0.8 + rng.uniform(-0.05, 0.05), 0.6 + rng.uniform(-0.05, 0.05))
    scans[3].half_axes = scans[11].half_axes = (0.6, 0.8)
    values = unlikeness(scans, seed=0)
    others = [i for i in range(20) if i not in (3, 11)]
    assert min(values[3], values[11]) > np.median(values[others])
    layout = cohort_layout._outline(scans[3], 1)
    assert layout.shape == (256,)
    alone = [StoredScan(scans[0].maps, scan.half_axes) for scan in scans]
    assert set(np.argsort(unlikeness(alone, seed=0))[-2:]) == {3, 11}


@pytest.mark.parametrize("part", ["strengths", "directions"])
def test_edges_elsewhere_or_running_another_way_come_first(part):
    rng = np.random.default_rng(2)
    usual = {"strengths": rng.random((3, 16, 16)), "directions": rng.random((3, 8, 8, 6))}
    other = {
        "strengths": np.rot90(usual["strengths"], 1, (1, 2)),
        "directions": usual["directions"][..., ::-1],
    }

    def layout(is_odd):
        parts = {name: other[name] if is_odd and name == part else usual[name] for name in usual}
        return EdgeLayout(**{name: array + rng.uniform(0, 0.3, array.shape) for name, array in parts.items()})

    maps = make_scan(0).maps
    scans = [StoredScan(maps, edges=layout(i in (4, 9))) for i in range(20)]
    assert set(np.argsort(unlikeness(scans, seed=0))[-2:]) == {4, 9}


def test_scans_of_thirds_beside_single_slices():
    scans = [make_scan(seed, n_slices=6 if seed else 1) for seed in range(5)]
    assert np.isfinite(unlikeness(scans, seed=0)).all()


def test_single_slices_and_few_scans():
    scans = [make_scan(seed, n_slices=1) for seed in range(3)]
    assert unlikeness(scans, seed=0).shape == (3,)
    assert unlikeness(scans[:1], seed=0).tolist() == [0.0]

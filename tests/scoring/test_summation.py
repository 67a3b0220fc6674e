"""A fit on batches that lie elsewhere ends as one on batches that are here."""

from __future__ import annotations

import pickle

import pytest
import torch

from napari_dinoad.errors import ScorerError
from napari_dinoad.scoring.dpmm.mixture import ComponentDensities
from napari_dinoad.scoring.dpmm.scorer import DpmmScorer
from napari_dinoad.scoring.patch_sample import sample_patches
from napari_dinoad.scoring.patches import seeded_generator
from napari_dinoad.scoring.summation import DistributedBatches, sum_over
from napari_dinoad.settings import DpmmSettings


class Elsewhere:
    """Batches that only sums and single patches of come back; cut map by map, everything sent as bytes."""

    def __init__(self, batches):
        self._batches = list(batches)
        self.n_moved = 0

    def __iter__(self):
        yield pytest.fail("the batches were moved")

    def __len__(self):
        return len(self._batches)

    def sum_over(self, function, *arguments):
        sent = pickle.dumps((function, arguments))
        total = None
        for batch in self._batches:
            for one in batch.split(1):
                there, values = pickle.loads(sent)
                part = pickle.loads(pickle.dumps(there(one, *values)))
                total = part if total is None else part + total
        return total

    def patch_counts(self):
        return [batch[..., 0].numel() for batch in self._batches]

    def patches_at(self, rows):
        parts = [
            batch.reshape(-1, batch.shape[-1])[own] for batch, own in zip(self._batches, rows, strict=True)
        ]
        self.n_moved += sum(map(len, parts))
        return torch.cat(parts)


@pytest.mark.parametrize("covariance", ["diag", "spherical", "full"])
def test_the_fit_is_the_same(covariance, make_smooth):
    maps = make_smooth(12, (6, 6), 10, seed=1)
    train, held_out = list(maps[:9].split(4)), [maps[9:]]
    settings = DpmmSettings(n_components=12, covariance=covariance, epochs=6, tolerance=0)
    here = DpmmScorer(settings).fit(train, validation=held_out).state()
    there = DpmmScorer(settings).fit(Elsewhere(train), validation=Elsewhere(held_out)).state()
    assert there.settings["best_epoch"] == here.settings["best_epoch"]
    assert there.settings["alpha"] == pytest.approx(here.settings["alpha"], rel=1e-9)
    for name, tensor in here.tensors.items():
        torch.testing.assert_close(there.tensors[name], tensor, rtol=1e-9, atol=1e-12)


def test_the_sample_is_the_same_and_nothing_else_moves(make_clustered):
    batches = list(make_clustered(11, (5, 4), 6, 3, 0.3, seed=2).split(3))
    for size in (7, 100, 10_000):
        elsewhere = Elsewhere(batches)
        here = sample_patches(batches, size, seeded_generator(5))
        there = sample_patches(elsewhere, size, seeded_generator(5))
        assert torch.equal(here.patches, there.patches)
        assert (here.n_patches, here.largest_batch) == (there.n_patches, there.largest_batch)
        assert elsewhere.n_moved == min(size, 220)


def test_nothing_there():
    assert sum_over([], torch.sum) is None
    assert sum_over(Elsewhere([]), torch.sum) is None
    with pytest.raises(ScorerError, match="at least one patch"):
        sample_patches(Elsewhere([]), 3, seeded_generator(0))
    assert not isinstance([], DistributedBatches)


def test_densities_travel_as_the_mixture_alone(make_clustered):
    maps = make_clustered(3, (5, 5), 8, 3, 0.3, seed=3)
    mixture = DpmmScorer(DpmmSettings(n_components=5, epochs=2)).fit([maps]).parameters.mixture
    densities = ComponentDensities(mixture)
    sent = pickle.dumps(densities)
    assert len(sent) < len(pickle.dumps(mixture)) + 500
    patches = torch.nn.functional.normalize(maps.reshape(-1, 8).double(), dim=-1)
    assert torch.equal(pickle.loads(sent).log_density(patches), densities.log_density(patches))

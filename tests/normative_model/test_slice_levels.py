"""What is usual of a slice is told by the slices of other persons that look alike, as far as looks tell it."""

from __future__ import annotations

import pytest
import torch

from napari_dinoad.errors import ModelFileError
from napari_dinoad.normative_model.slice_levels import LookSpace, SliceLevels, common_units, told_by_all


def cohort(seed=0, n_persons=12, n_heights=40, tells=1.0):
    """Return looks, levels and persons of slices whose looks, and levels, change with their height."""
    rng = torch.Generator().manual_seed(seed)
    heights = torch.linspace(0, 1, n_heights).repeat(n_persons)
    waves = torch.sin(torch.outer(heights, torch.arange(1.0, 6.0)) * 3)
    looks = waves.repeat(1, 4) + 0.02 * torch.randn(len(heights), 20, generator=rng)
    noise = torch.rand(len(heights), generator=rng)
    levels = 2 * (1 + tells * 3 * (heights < 0.2) + (1 - tells) * noise)
    return looks, levels[None], torch.arange(n_persons).repeat_interleave(n_heights)


def measured(looks, levels, persons):
    space = LookSpace.of(looks)
    return SliceLevels.of(space, space.places(looks), levels, persons)


def test_alike_slices_tell_the_level_of_a_new_one():
    levels = measured(*cohort())
    looks, wanted, _ = cohort(seed=1, n_persons=1)
    told = levels(looks)[0]
    relative = wanted[0] / cohort()[1].mean()
    away = torch.ones(len(told), dtype=torch.bool)
    away[5:11] = False  # at the border alike slices differ
    torch.testing.assert_close(told[away], relative[away], atol=0.1, rtol=0)


@pytest.mark.parametrize("at_once", [1, 100])
def test_slices_of_large_cohorts_are_left_out_with_their_own_person_too(at_once, monkeypatch):
    """Some hundred slices at a time are compared with all others."""
    slices = cohort(n_persons=4, tells=0.7)
    whole = measured(*slices)
    monkeypatch.setattr("napari_dinoad.normative_model.slice_levels._ROWS_AT_ONCE", at_once)
    some = measured(*slices)
    assert some.width == pytest.approx(whole.width, rel=1e-5)
    torch.testing.assert_close(some.levels, whole.levels, rtol=1e-4, atol=1e-5)


def test_a_slice_without_its_like_has_the_mean_level():
    levels = measured(*cohort())
    told = levels(torch.full((1, 20), 50.0))
    torch.testing.assert_close(told, torch.ones(1, 1), atol=1e-4, rtol=0)


def test_looks_that_tell_nothing_change_nothing():
    """Levels that are chance are drawn to the mean; told as they are they would add their chance to the scores."""
    looks, levels, persons = cohort(tells=0.0)
    torch.testing.assert_close(
        measured(looks, levels, persons)(looks), torch.ones(1, len(looks)), atol=0.05, rtol=0
    )


def test_a_person_does_not_tell_its_own_levels():
    looks, levels, persons = cohort()
    changed = torch.where(persons == 3, 9 * levels, levels)
    one, other = (measured(looks, own, persons) for own in (levels, changed))
    places, own = one.space.places(looks)[persons == 3], persons == 3
    means = levels.mean(), changed.mean()
    told = [each.at(places, own) * mean for each, mean in zip((one, other), means, strict=True)]
    # Their own would be nine times as high; how far all are drawn to the mean changes a little.
    assert (told[1] < 2 * told[0]).all()


def test_persons_of_a_few_slices_are_enough():
    """Fewer slices of others than are asked for."""
    looks = torch.tensor([[0.0, 1], [1, 0], [0.1, 1], [1, 0.1]])
    levels = measured(looks, torch.tensor([[1.0, 3, 1, 3]]), torch.tensor([0, 0, 1, 1]))
    told = levels(looks)[0]
    assert told.isfinite().all()
    assert told[0] < told[1]


def test_slices_that_all_look_the_same_have_the_mean_level():
    _, levels, persons = cohort()
    kept = measured(torch.ones(len(persons), 20), levels, persons)
    torch.testing.assert_close(kept(torch.ones(3, 20)), torch.ones(1, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(kept(torch.rand(3, 20)), torch.ones(1, 3), atol=1e-4, rtol=0)


def test_levels_of_nothing_but_0_tell_nothing():
    looks, levels, persons = cohort()
    told = measured(looks, torch.cat([levels, 0 * levels]), persons)(looks)
    assert (told[1] == 1).all()
    assert (told[0] != 1).any()


def test_levels_below_0_by_rounding_are_0():
    """As a stored patch's distance may be; a model file takes none below."""
    looks, levels, persons = cohort()
    kept = measured(looks, torch.where(levels == levels.max(), levels, -1e-7), persons)
    assert (kept.levels >= 0).all()
    SliceLevels.from_tensors(kept.tensors())


def test_silent_levels_are_1():
    assert SliceLevels.silent(torch.ones(2))(torch.rand(3, 7)).tolist() == [[1, 1, 1]] * 2


def test_they_are_stored_and_rebuilt():
    looks, levels, persons = cohort()
    kept = measured(looks, levels, persons)
    again = SliceLevels.from_tensors(kept.tensors())
    assert torch.equal(again(looks + 0.1), kept(looks + 0.1))
    silent = SliceLevels.from_tensors(SliceLevels.silent(torch.ones(2)).tensors())
    assert (silent(looks) == 1).all()


def halves(is_first=lambda heights: torch.ones_like(heights, dtype=torch.bool)):
    """Return the levels of two hospitals; the slices of the first are only some, by their heights."""
    parts = []
    for seed in (2, 3):
        looks, levels, persons = cohort(seed=seed, n_persons=6)
        heights = torch.linspace(0, 1, 40).repeat(6)
        kept = is_first(heights) if seed == 2 else torch.ones_like(heights, dtype=torch.bool)
        parts.append(measured(looks[kept], levels[:, kept], persons[kept]))
    return parts


def test_level_1_stands_for_the_mean_score():
    looks, levels, persons = cohort()
    assert measured(looks, levels, persons).units.tolist() == pytest.approx([float(levels.mean())])


def test_two_models_tell_what_one_of_all_tells():
    """Also where one of them has no slice that is high, and its mean is another."""
    whole = measured(*cohort())
    looks, _, _ = cohort(seed=1, n_persons=1)
    away = torch.ones(40, dtype=torch.bool)
    away[5:11] = False  # at the border alike slices differ
    for parts in (halves(), halves(lambda heights: heights >= 0.2)):
        together = told_by_all(parts, looks) * common_units(parts)
        torch.testing.assert_close(
            together[:, away], whole(looks)[:, away] * whole.units, atol=0.1, rtol=0.04
        )
    assert parts[0].units < 0.7 * parts[1].units


def test_one_model_tells_the_same_alone_and_as_the_only_one():
    (own, _), (looks, _, _) = halves(), cohort(seed=1)
    assert torch.equal(told_by_all([own], looks), own(looks))


def test_a_slice_that_no_model_knows_has_the_mean_level_of_all():
    told = told_by_all(halves(), torch.full((1, 20), 50.0))
    torch.testing.assert_close(told, torch.ones(1, 1), atol=1e-4, rtol=0)


def test_what_is_silent_only_hinders_levels_below_its_own():
    parts, (looks, _, _) = halves(), cohort(seed=1)
    silent = SliceLevels.silent(1.1 * common_units(parts))
    told, alone = told_by_all([parts[0], silent, parts[1]], looks), told_by_all(parts, looks)
    torch.testing.assert_close(told, alone.clamp_min(1.1))
    assert (alone < 1.1).any() and (alone > 1.1).any()


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("places", None),
        ("places", torch.zeros(5, 20)),
        ("places", torch.zeros(480, 3)),
        ("origin", torch.zeros(3)),
        ("levels", torch.full((1, 480), -1.0)),
        ("levels", torch.full((1, 480), torch.nan)),
        ("levels", torch.ones(1, 480, dtype=torch.float64)),
        ("levels", torch.ones(1, 479)),
        ("levels", torch.ones(480)),
        ("units", None),
        ("units", torch.zeros(1)),
        ("units", torch.ones(2)),
        ("width", torch.tensor(0.0)),
        ("width", torch.tensor(torch.nan)),
        ("width", torch.ones(2)),
        ("directions", torch.zeros(20)),
    ],
)
def test_what_is_damaged_is_refused(name, wrong):
    tensors = measured(*cohort()).tensors()
    del tensors[name]
    if wrong is not None:
        tensors[name] = wrong
    with pytest.raises(ModelFileError, match="Levels of slices"):
        SliceLevels.from_tensors(tensors)

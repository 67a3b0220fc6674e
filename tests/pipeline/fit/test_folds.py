"""Whole persons are held out; where every scan is of a person of its own, folds are what they were before."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dinoad.images.persons import Persons
from napari_dinoad.pipeline.fit.folds import choose_folds, choose_validation
from napari_dinoad.settings import CalibrationSettings

METHODS = [CalibrationSettings("cross"), CalibrationSettings("cross", folds=3), CalibrationSettings("split")]


def random_persons(rng):
    """Return whose 3 to 60 scans are, of at least three persons, some of whom have many."""
    while True:
        n = int(rng.integers(3, 60))
        marks = rng.geometric(rng.uniform(0.05, 0.5), n)
        persons = np.array(Persons.of(marks.tolist()).of_scan)
        if persons.max() >= 2:
            return persons


def folds_by_scan(n_scans, chosen, seed):
    """Return the folds of versions that held out single scans."""
    order = np.random.default_rng(seed).permutation(n_scans)
    if chosen.method == "cross" or (chosen.method == "auto" and n_scans < chosen.cross_below):
        return [np.sort(fold) for fold in np.array_split(order, min(chosen.folds, n_scans))], True
    n_held_out = min(max(1, round(chosen.holdout * n_scans)), n_scans - 1)
    return [np.sort(order[:n_held_out])], False


def validation_by_scan(scans, seed):
    """Return what these versions fitted on and validated with."""
    n_validate = round(0.1 * len(scans)) if len(scans) >= 10 else 0
    mixed = np.random.default_rng(seed).permutation(scans)
    return np.sort(mixed[n_validate:]), np.sort(mixed[:n_validate])


@pytest.mark.parametrize("chosen", METHODS, ids=lambda chosen: f"{chosen.method}-{chosen.folds}")
def test_no_person_is_fitted_on_and_held_out(chosen):
    rng = np.random.default_rng(0)
    for seed in range(300):
        persons = random_persons(rng)
        folds, is_cross = choose_folds(persons, chosen, seed)
        every = np.concatenate(folds)
        assert len(np.unique(every)) == len(every)
        if is_cross:
            assert len(every) == len(persons), "every scan once"
        for fold in folds:
            rest = np.setdiff1d(np.arange(len(persons)), fold)
            assert len(fold) > 0
            assert len(rest) > 0
            assert not np.isin(persons[fold], persons[rest]).any()
            whose = persons[fold]
            assert (np.diff(np.flatnonzero(np.diff(whose, prepend=-1))) > 0).all()
            assert np.count_nonzero(np.diff(whose)) + 1 == len(np.unique(whose)), "one person after the other"
            fitting, validating = choose_validation(persons, rest, seed)
            np.testing.assert_array_equal(np.sort(np.concatenate([fitting, validating])), rest)
            assert len(fitting) > 0
            assert not np.isin(persons[fitting], persons[validating]).any()


@pytest.mark.parametrize("chosen", [*METHODS, CalibrationSettings()], ids=str)
def test_single_scans_are_held_out_as_before(chosen):
    for n_scans in (*range(2, 40), 99, 100, 137):
        for seed in range(3):
            persons = np.arange(n_scans)
            folds, is_cross = choose_folds(persons, chosen, seed)
            wanted, was_cross = folds_by_scan(n_scans, chosen, seed)
            assert is_cross == was_cross
            assert len(folds) == len(wanted)
            for fold, before in zip(folds, wanted, strict=True):
                np.testing.assert_array_equal(fold, before)
                rest = np.setdiff1d(persons, fold)
                for now, then in zip(
                    choose_validation(persons, rest, seed), validation_by_scan(rest, seed), strict=True
                ):
                    np.testing.assert_array_equal(now, then)


@pytest.mark.parametrize(
    ("n_scans", "settings", "sizes"),
    [
        (99, CalibrationSettings(), [20, 20, 20, 20, 19]),
        (100, CalibrationSettings(), [20]),
        (3, CalibrationSettings(), [1, 1, 1]),
        (3, CalibrationSettings("split"), [1]),
        (4, CalibrationSettings("split", holdout=0.01), [1]),
        (4, CalibrationSettings("split", holdout=0.99), [3]),
        (200, CalibrationSettings("cross", folds=2), [100, 100]),
    ],
)
def test_folds_below_a_hundred_scans_and_one_split_from_there_on(n_scans, settings, sizes):
    """At least one scan is held out, and one is left to fit on; each is held out once."""
    folds, is_cross = choose_folds(np.arange(n_scans), settings, 0)
    assert [len(fold) for fold in folds] == sizes
    assert is_cross == (len(sizes) > 1)
    every = np.concatenate(folds)
    assert len(np.unique(every)) == len(every) == (n_scans if is_cross else sizes[0])


def test_folds_are_of_about_as_many_scans():
    """Where persons have up to four scans, no fold is off by more than four."""
    rng = np.random.default_rng(1)
    for seed in range(50):
        counts = rng.integers(1, 5, 30)
        persons = np.repeat(np.arange(30), counts)
        folds, _ = choose_folds(persons, CalibrationSettings("cross"), seed)
        assert max(abs(len(fold) - len(persons) / 5) for fold in folds) <= 4


def test_a_person_with_most_scans_leaves_a_person_for_each_fold():
    persons = np.repeat([0, 1, 2, 3, 4], [100, 1, 1, 1, 1])
    for seed in range(20):
        folds, _ = choose_folds(persons, CalibrationSettings("cross"), seed)
        assert sorted(len(fold) for fold in folds) == [1, 1, 1, 1, 100]


def test_many_scans_of_few_persons_are_held_out_in_turn():
    """A split of four persons would leave one to calibrate with."""
    persons = np.repeat(np.arange(4), 50)
    folds, is_cross = choose_folds(persons, CalibrationSettings(), 0)
    assert is_cross
    assert [len(fold) for fold in folds] == [50] * 4


def test_which_persons_a_split_holds_out_does_not_depend_on_their_scans():
    """Otherwise those who come often would calibrate for those who come once."""
    persons = np.repeat(np.arange(20), [10, 1] * 10)
    held_out = [
        np.unique(persons[choose_folds(persons, CalibrationSettings("split"), seed)[0][0]])
        for seed in range(300)
    ]
    assert {len(own) for own in held_out} == {4}
    assert np.mean([own % 2 == 0 for own in held_out]) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(1200))

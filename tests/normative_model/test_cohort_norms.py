"""Which scans a cohort's norms call unlike it, and that norms survive being stored."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import median_abs_deviation

from napari_dinoad.normative_model.cohort_norms import (
    MIN_SCANS,
    CohortNorms,
    FigureNorm,
    robust_spread,
    robust_z,
    unlike_all,
)


def facts(spacing=(1.0, 1.0, 1.0), body=(160.0, 200.0, 150.0), intensity=(10, 200, 400, 600, 1000), **others):
    return {
        "shape": [160, 220, 180],
        "spacing": list(spacing),
        "is_physical": True,
        "body_size": list(body),
        "intensity": [float(value) for value in intensity],
        **others,
    }


@pytest.mark.parametrize("n", [1, 2, 5, 24, 500])
def test_a_robust_spread_is_the_standard_deviation_of_a_normal_distribution(n):
    values = np.random.default_rng(n).normal(7, 3, n)
    values[: n // 10] = 1e6  # outliers
    spread = median_abs_deviation(values, scale="normal")
    assert robust_spread(values) == pytest.approx(spread, rel=1e-4)
    if n > 1:
        np.testing.assert_allclose(robust_z(values), (values - np.median(values)) / spread, rtol=1e-4)
    least = 2 * spread + 1
    np.testing.assert_allclose(robust_z(values, least), (values - np.median(values)) / least)


@pytest.fixture
def cohort():
    rng = np.random.default_rng(0)
    return [
        facts(
            body=np.array([160, 200, 150]) * rng.uniform(0.95, 1.05, 3),
            intensity=np.array([10, 200, 400, 600, 1000]) * rng.uniform(0.97, 1.03, 5),
        )
        for _ in range(12)
    ]


def test_no_scan_of_the_cohort_is_unlike_it(cohort):
    norms = CohortNorms.of(cohort)
    assert len(norms.figures) == 9
    assert all(unlike_all([norms], item) == () for item in cohort)


@pytest.mark.parametrize(
    ("scan", "words"),
    [
        (facts(spacing=(5.0, 1.0, 1.0)), "Its voxels are 5 mm top to bottom, in the normal scans 1 mm."),
        (
            facts(spacing=(5.0, 3.0, 4.0)),
            "Its voxels are 5 mm top to bottom, 3 mm front to back and 4 mm side to side, in the normal scans 1 mm, "
            "1 mm and 1 mm.",
        ),
        (
            facts(body=(160.0, 200.0, 400.0)),
            "What it shows measures 400 mm side to side, in the normal scans 1",
        ),
        (
            facts(intensity=(10, 200, 800, 900, 1000)),
            "the median and upper quartile of its tissue lie at 80 % and 90 % between dark and bright, theirs at 3",
        ),
        (
            facts(intensity=(10, 200, 400, 900, 1000)),
            "the upper quartile of its tissue lies at 90 % between dark and",
        ),
    ],
)
def test_what_differs_is_named_with_what_the_normal_scans_have(cohort, scan, words):
    (said,) = unlike_all([CohortNorms.of(cohort)], scan)
    assert words in said


@pytest.mark.parametrize(
    ("side", "words"),
    [
        (6000, "Its longer side has 6000 pixels, that of the normal scans 800 to 1020: unless it is the same field"),
        (200, "its details are much larger to the model. Take pieces of their size."),
        (2500, ""), (400, ""), (900, ""),
    ],
)  # fmt: skip
def test_pictures_of_other_magnifications_are_told_by_their_pixels(side, words):
    """A slide of 6000 × 4000 pixels was unusual everywhere to a model of pieces of 800 × 600, and none knew why."""
    pictures = [facts(shape=[1, 600, 800 + 20 * n], is_physical=False) for n in range(12)]
    told = unlike_all([CohortNorms.of(pictures)], facts(shape=[1, side * 2 // 3, side], is_physical=False))
    assert len(told) == bool(words)
    assert words in "".join(told)


@pytest.mark.parametrize(
    ("spacing", "advice"),
    [
        ((5.0, 1.0, 1.0), "coarser, which may look unusual all over. Score a series of smaller voxels, or fit a"),
        ((1.0, 0.3, 0.3), "finer, which may look unusual all over. Resample it to theirs, or fit a model of normal"),
        ((5.0, 0.3, 0.3), "another, which may look unusual all over. Score a series of voxels like theirs, or fit"),
    ],
)  # fmt: skip
def test_of_other_voxels_it_is_said_what_to_do(cohort, spacing, advice):
    (said,) = unlike_all([CohortNorms.of(cohort)], facts(spacing=spacing))
    assert advice in said


def test_units_of_intensity_do_not_matter(cohort):
    scaled = facts(intensity=np.array([10, 200, 400, 600, 1000]) * 37.0 + 5)
    assert unlike_all([CohortNorms.of(cohort)], scaled) == ()


def test_a_scan_like_one_of_several_cohorts_suits_the_model(cohort):
    thick = [item | {"spacing": [5.0, 1.0, 1.0]} for item in cohort]
    both = [CohortNorms.of(cohort), CohortNorms.of(thick)]
    assert unlike_all(both, thick[0]) == unlike_all(both, cohort[0]) == ()
    assert unlike_all(both, cohort[0] | {"spacing": [2.5, 1.0, 3.0]}) == (
        "Its voxels are 2.5 mm top to bottom and 3 mm side to side, in the normal scans 1 mm and 1 mm. Its detail is "
        "coarser, which may look unusual all over. Score a series of smaller voxels, or fit a model of normal scans "
        "with voxels of its size.",
    )


def test_the_cohort_that_a_scan_is_least_unlike_is_told(cohort):
    other = [item | {"spacing": [5.0, 5.0, 1.0], "intensity": [0, 800, 850, 900, 1000]} for item in cohort]
    both = [CohortNorms.of(other), CohortNorms.of(cohort)]
    (said,) = unlike_all(both, cohort[0] | {"spacing": [1.0, 3.0, 2.0]})
    assert said.startswith(
        "Its voxels are 3 mm front to back and 2 mm side to side, in the normal scans 1 mm"
    )


def test_what_lies_far_outside_of_two_scans_is_told_already(cohort):
    """A fit of two to four scans kept no figures: nothing was told of a T2 scored with a model of T1."""
    norms = CohortNorms.of(cohort[:2])
    assert all(unlike_all([norms], item) == () for item in cohort[2:])
    t2 = facts(intensity=(10, 180, 270, 400, 1000))
    assert [said[:16] for said in unlike_all([norms], t2)] == ["Another contrast"]


def test_single_scans_and_unknown_sizes_say_nothing(cohort):
    assert CohortNorms.of(cohort[: MIN_SCANS - 1]).figures == {}
    assert unlike_all([], cohort[0]) == ()
    flat = facts(is_physical=False)
    assert unlike_all([CohortNorms.of(cohort)], flat | {"spacing": [9.0, 9.0, 9.0]}) == ()


def test_how_wide_bodies_are_is_told_across_the_patient(cohort):
    assert CohortNorms.of(cohort).width_mm == np.median([item["body_size"][1] for item in cohort])
    assert CohortNorms.of(cohort[: MIN_SCANS - 1]).width_mm is None


def test_norms_survive_being_stored(cohort):
    norms = CohortNorms.of(cohort)
    assert CohortNorms.from_dict(json.loads(json.dumps(norms.to_dict()))) == norms
    with pytest.raises(TypeError):
        CohortNorms.from_dict({"voxel": {"n": 3}})


@pytest.mark.parametrize(
    ("spread", "slack"), [(8.0, 40.0), (0.0, 25.0)], ids=["five spreads", "of 5 % of the median at least"]
)
def test_a_scan_a_little_beyond_the_normal_ones_is_not_unlike_them(spread, slack):
    norm = FigureNorm(10, 100.0, spread, 95.0, 107.0)
    inside = (95 - slack, 95, 100, 107, 107 + slack)
    assert [norm.is_unlike(value) for value in inside] == [False] * 5
    assert norm.is_unlike(94.9 - slack)
    assert norm.is_unlike(107.1 + slack)


@pytest.mark.parametrize(
    ("reach_air", "told"),
    [([True] * 5, {True}), ([False] * 6, {False}), ([False, True] * 3, {False, True}), ([], set())],
)
def test_whether_the_scans_have_values_of_air_is_kept(reach_air, told):
    norms = CohortNorms.of([facts() | {"reaches_air": value} for value in reach_air])
    assert norms.reach_air == told
    assert CohortNorms.from_dict(norms.to_dict()).reach_air == told
    assert norms.told({"reaches_air": 1.0}) == norms.told({"reaches_air": 0.0}) == (), (
        "told by the preset, not here"
    )

"""Which scans a user's text means."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from napari_dinoad.images.series_choice import is_of_series, meant_by, series_in_words


@pytest.mark.parametrize(
    ("name", "wanted", "is_meant"),
    [
        ("sub-01_ses-02_T1w", "T1w", True),
        ("sub-01_T1w", " t1W ", True),
        ("BraTS-MET-00110-000-t1n", "t1n", True),
        ("case_0001", "0001", True),
        ("case_0001", "_0001", True),
        ("BraTS-MET-00110-000-t1n", "-t1n", True),
        ("case_10001", "_0001", False),
        ("a_t1", "_", False),
        ("patient 3 FLAIR", "flair", True),
        ("T1", "t1", True),
        ("sub-01_T1w", "1w", False),
        ("sub-01_T1w", "T1", False),
        ("sub-01_T1w_brain", "T1w", False),
        ("sub-01_T1w", "", False),
        ("sub-01_", "", False),
        ("a_.*", ".*", True),
        ("a_t1", ".*", False),
    ],
)
def test_what_names_end_with(name, wanted, is_meant):
    assert is_of_series(name, wanted) == is_meant


@dataclass(frozen=True)
class Scan:
    text: str

    @property
    def series_texts(self):
        return (self.text,)

    def answers_to(self, wanted):
        return self.text.casefold() == wanted.casefold()


@pytest.mark.parametrize(
    ("wanted", "meant"),
    [
        ("t1 mprage", ["T1 MPRAGE"]),
        ("*mprage*", ["T1 MPRAGE", "t1_mprage_sag"]),
        (" T? TSE ", ["T2 TSE"]),
        ("T2* GRE", ["T2* GRE"]),
        ("T2* *", ["T2* GRE", "T2 sag GRE", "T2 TSE"]),
        ("[T]2*", []),
        ("[cor] *", ["[cor] PD"]),
        ("mprage", []),
    ],
)
def test_patterns_are_of_the_whole_text_and_after_what_answers(wanted, meant):
    """T2* is a sequence of its own, and no pattern where a series is called so."""
    texts = ("T1 MPRAGE", "t1_mprage_sag", "T2* GRE", "T2 sag GRE", "T2 TSE", "[cor] PD")
    scans = [Scan(text) for text in texts]
    assert [scan.text for scan in meant_by(wanted, scans)] == meant


def test_of_many_series_the_first_are_told_and_how_many_more():
    assert series_in_words([]) == ""
    series = [(f"series{place}", 20 - place) for place in range(8)]
    assert series_in_words(series).endswith("series6 (14), series7 (13).")
    assert series_in_words([*series, ("T1", 2), ("T2", 1)]).endswith("series7 (13) and 2 more.")

"""How much work adding histograms makes: how many keys are gone through."""

from __future__ import annotations

from napari_dinoad.calibration.score_histogram import ScoreHistogram


def added_keys(monkeypatch):
    """Return a list that gets the number of keys of both histograms, each time that two are added."""
    numbers = []
    add = ScoreHistogram.__add__

    def counted(one, other):
        numbers.append(one.keys.size + other.keys.size)
        return add(one, other)

    monkeypatch.setattr(ScoreHistogram, "__add__", counted)
    return numbers

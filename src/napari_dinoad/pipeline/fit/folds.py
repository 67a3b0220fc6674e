"""Which normal scans are held out together: whole persons, never one scan of a person that others are fitted on.

Scans of one person are nearly alike. Scored by a model that has seen another scan of the person, a held-out scan
looks more normal than a scan of a new person would.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari_dinoad.settings import CalibrationSettings

__all__ = ["choose_folds", "choose_validation"]

_VALIDATION_SHARE = 0.1
"""Share of the fitting persons that choose the epoch; they do not calibrate."""

_MIN_PERSONS_TO_VALIDATE = 10
"""With fewer fitting persons all are fitted on, and the last epoch is kept."""


def choose_folds(
    persons: np.ndarray, chosen: CalibrationSettings, seed: int
) -> tuple[list[np.ndarray], bool]:
    """Choose the scans that are held out together.

    Parameters
    ----------
    persons : numpy.ndarray
        (n,) int, the person of each scan, counted from 0; at least two persons.
    chosen : CalibrationSettings
    seed : int
        Of the order of the persons, which does not depend on how many scans each has.

    Returns
    -------
    folds : list of numpy.ndarray
        Scans (m,) int of each fold, those of a person one after the other.
    is_cross : bool
        Whether every scan is held out once: folds are then of about as many scans each. A split holds out a share of
        the persons; it would be of those with few scans if scans were counted, and new ones are not.
    """
    n_persons = int(persons.max()) + 1
    order = np.random.default_rng(seed).permutation(n_persons)
    if chosen.method == "cross" or (chosen.method == "auto" and n_persons < chosen.cross_below):
        groups = _in_parts(order, np.bincount(persons), min(chosen.folds, n_persons))
        return [_scans_of(persons, group) for group in groups], True
    n_held_out = min(max(1, round(chosen.holdout * n_persons)), n_persons - 1)
    return [_scans_of(persons, order[:n_held_out])], False


def choose_validation(persons: np.ndarray, scans: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Divide the scans of a fit into those that are fitted on and those, of other persons, that choose the epoch.

    Parameters
    ----------
    persons : numpy.ndarray
        (n,) int, the person of every scan.
    scans : numpy.ndarray
        (m,) int, the scans to divide.
    seed : int

    Returns
    -------
    fitting, validating : numpy.ndarray
        Ascending; no scan chooses the epoch where there are few persons.
    """
    own = np.unique(persons[scans])
    n_validate = round(_VALIDATION_SHARE * len(own)) if len(own) >= _MIN_PERSONS_TO_VALIDATE else 0
    mixed = np.random.default_rng(seed).permutation(own)
    validates = np.isin(persons[scans], mixed[:n_validate])
    return np.sort(scans[~validates]), np.sort(scans[validates])


def _scans_of(persons: np.ndarray, group: np.ndarray) -> np.ndarray:
    """Return the scans of a group of persons, by person."""
    scans = np.flatnonzero(np.isin(persons, group))
    return scans[np.argsort(persons[scans], kind="stable")]


def _in_parts(order: np.ndarray, n_scans: np.ndarray, n_parts: int) -> list[np.ndarray]:
    """Cut persons, in this order, into parts of about equally many scans, each of a person at least.

    Where each person has one scan, these are the parts of `numpy.array_split`.
    """
    ends = np.cumsum(n_scans[order])
    wanted = np.cumsum([len(part) for part in np.array_split(np.arange(ends[-1]), n_parts)])
    cuts = [0]
    for part, end in enumerate(wanted[:-1], start=1):
        first, last = cuts[-1] + 1, len(order) - (n_parts - part)
        cuts.append(first + int(np.argmin(np.abs(ends[first - 1 : last] - end))))
    return np.split(order, cuts[1:])

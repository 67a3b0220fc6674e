"""What is usual of a slice by what it looks like: the level of alike slices of other persons.

A slice's look is the mean embedding of its body in each of 4 x 4 parts of the model input, reduced to the 32
directions in which slices of the normal scans differ most. Its level is the mean of those of the slices that look
most alike, weighted by likeness, and the mean level of all where nothing looks like it. Where the looks of normal
persons explain little of the levels of those left out, all levels are drawn to that mean (``explained``).
"""

from __future__ import annotations

import numpy as np

__all__ = ["AlikeLevels", "look_of"]

PARTS, DIRECTIONS = 4, 32
N_ALIKE, PRIOR = 10, 0.3
"""How many slices are averaged, and the weight of the mean level (that of a slice that looks the same is 1)."""

MIN_SPREAD = 1e-3


def look_of(embeddings: np.ndarray, body: np.ndarray) -> np.ndarray:
    """Return the look (n, 16 d) of slices.

    Parameters
    ----------
    embeddings : numpy.ndarray
        (n, g, g, d) float32.
    body : numpy.ndarray
        (n, g, g), how much of each patch is body. A part with hardly any has the mean of the whole slice.
    """
    n, g, _, d = embeddings.shape
    side = g // PARTS
    weights = body.reshape(n, PARTS, side, PARTS, side, 1)
    sums = (embeddings.reshape(n, PARTS, side, PARTS, side, d) * weights).sum(axis=(2, 4))
    counts = weights.sum(axis=(2, 4))
    whole = sums.sum(axis=(1, 2), keepdims=True) / np.maximum(counts.sum(axis=(1, 2), keepdims=True), 1e-6)
    trust = np.minimum(PARTS * counts / side**2, 1.0)
    parts = trust * sums / np.maximum(counts, 1e-6) + (1 - trust) * whole
    return np.asarray(parts.reshape(n, -1))


class AlikeLevels:
    """The levels of normal slices, to tell what is usual of others.

    Parameters
    ----------
    looks : list of numpy.ndarray
        (slices, k) of each normal scan.
    levels : list of numpy.ndarray
        (slices,), what some share of a slice's body exceeds, by a scorer that has not seen the person.
    persons : list of int
        Of each scan; at least two.

    Attributes
    ----------
    explained : float
        0 to 1: how much of what sets levels of left-out persons apart their looks tell.
    """

    def __init__(self, looks: list[np.ndarray], levels: list[np.ndarray], persons: list[int]) -> None:
        every, self._levels = np.concatenate(looks), np.concatenate(levels)
        of_person = np.repeat(persons, [len(own) for own in looks])
        self._centre, self._spread = every.mean(axis=0), np.maximum(every.std(axis=0), MIN_SPREAD)
        scaled = (every - self._centre) / self._spread
        self._directions = np.linalg.svd(scaled, full_matrices=False)[2][:DIRECTIONS].T
        self._places, self._mean = scaled @ self._directions, float(self._levels.mean())
        others = self._squares(self._places)
        is_same = of_person[:, None] == of_person
        others[is_same] = np.inf
        n_alike = min(N_ALIKE, int((~is_same).sum(axis=1).min()))
        self._width = float(np.median(np.sort(others, axis=1)[:, n_alike - 1]))
        told, apart = self._told(others) - self._mean, self._levels - self._mean
        self.explained = float(np.clip((told @ apart) / max(told @ told, 1e-12), 0.0, 1.0))

    def __call__(self, looks: np.ndarray) -> np.ndarray:
        """Return the levels (n,) of slices that look so (n, k)."""
        told = self._told(self._squares((looks - self._centre) / self._spread @ self._directions))
        return self._mean + self.explained * (told - self._mean)

    def _squares(self, places: np.ndarray) -> np.ndarray:
        """Return squared distances (n, slices of the normal scans)."""
        norms = np.square(places).sum(axis=1)[:, None] + np.square(self._places).sum(axis=1)
        return np.asarray(np.maximum(norms - 2 * places @ self._places.T, 0.0))

    def _told(self, squares: np.ndarray) -> np.ndarray:
        n_alike = min(N_ALIKE, squares.shape[1])
        farthest = np.partition(squares, n_alike - 1, axis=1)[:, n_alike - 1 : n_alike]
        weights = np.where(squares <= farthest, np.exp(-0.5 * squares / self._width), 0.0)
        return np.asarray((weights @ self._levels + PRIOR * self._mean) / (weights.sum(axis=1) + PRIOR))

"""Weights put into a network without taking their size twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from torch import nn

from napari_dinoad.backbones.weights.matching import _parameters_without_memory


def test_a_network_that_another_thread_makes_meanwhile_has_its_values():
    with _parameters_without_memory(), ThreadPoolExecutor(1) as other:
        own, apart = nn.Linear(2, 3), other.submit(nn.Linear, 2, 3).result()
    assert own.weight.is_meta
    assert not apart.weight.is_meta
    assert not nn.Linear(2, 3).weight.is_meta, "nor one that is made later"

"""Fingerprints of the scans behind a model."""

from __future__ import annotations

import pytest
import torch

from napari_dinoad.errors import ModelFileError
from napari_dinoad.normative_model.fingerprints import (
    TENSOR,
    fingerprint_of,
    in_order,
    store_fingerprints,
    stored_fingerprints,
)

HIGHEST = 2**64 - 1


def test_they_do_not_tell_in_which_order_scans_came_nor_how_often():
    assert in_order([9, 2, HIGHEST, 9, 0]) == (0, 2, 9, HIGHEST)


def test_all_64_bits_are_stored():
    own = in_order(
        [fingerprint_of("f" * 64), fingerprint_of("8" + "0" * 63), fingerprint_of("0" * 15 + "1" + "f" * 48)]
    )
    assert own == (1, 2**63, HIGHEST)
    tensors = {}
    store_fingerprints(own, tensors)
    assert tensors[TENSOR].dtype == torch.int64
    assert stored_fingerprints(tensors) == own


def test_a_model_without_any_has_no_such_tensor():
    tensors = {}
    store_fingerprints((), tensors)
    assert tensors == {} and stored_fingerprints(tensors) == ()


@pytest.mark.parametrize("wrong", [torch.zeros(3), torch.zeros(3, 1, dtype=torch.int64)])
def test_others_are_refused(wrong):
    with pytest.raises(ModelFileError, match="expected int64 of one dimension"):
        stored_fingerprints({TENSOR: wrong})

"""What a model file's checksum holds for, and that it is the same with and without torch."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
import torch

from napari_dinoad.normative_model.file import (
    content_sha256,
    read_model_arrays,
    read_model_file,
    write_model_file,
)
from napari_dinoad.settings import MODEL_FORMAT_VERSION

DOCUMENT = {
    "format_version": MODEL_FORMAT_VERSION,
    "scorer": "dpmm",
    "calibration": {"n_voxels": 7, "tail_slope": 0.1},
    "provenance": {"created": "2026-01-02", "n_scans": 3},
}


def some_tensors():
    return {
        "b.means": torch.arange(6.0).reshape(2, 3),
        "a.scan_scores": torch.tensor([0.5, 2.0], dtype=torch.float64),
        "number": torch.tensor(5, dtype=torch.int64),
    }


CHANGES = {
    "a value": lambda document, tensors: tensors["b.means"].__setitem__((1, 2), 5.5),
    "a name": lambda document, tensors: tensors.update({"c.means": tensors.pop("b.means")}),
    "names changed over": lambda document, tensors: tensors.update(
        {"b.means": tensors["b.means"].flip(0), "b.more": tensors["b.means"]}
    ),
    "a shape": lambda document, tensors: tensors.update({"b.means": tensors["b.means"].reshape(3, 2)}),
    "a type": lambda document, tensors: tensors.update({"b.means": tensors["b.means"].view(torch.int32)}),
    "a tensor less": lambda document, tensors: tensors.pop("number"),
    "a count": lambda document, tensors: document["calibration"].update(n_voxels=8),
    "a scan more": lambda document, tensors: document["provenance"].update(n_scans=4),
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_checksum_holds_for_all_that_scores_depend_on(change):
    document, tensors = deepcopy(DOCUMENT), some_tensors()
    CHANGES[change](document, tensors)
    assert content_sha256(document, tensors) != content_sha256(DOCUMENT, some_tensors())


def test_the_same_fit_on_another_day_has_the_same_checksum():
    later = deepcopy(DOCUMENT)
    later["provenance"]["created"] = "2027-11-30"
    reordered = {name: later[name] for name in sorted(later, reverse=True)}
    tensors = dict(reversed(some_tensors().items()))
    assert content_sha256(reordered, tensors) == content_sha256(DOCUMENT, some_tensors())


def test_a_file_is_read_with_and_without_torch_and_the_same_content_is_the_same_file(tmp_path):
    path = tmp_path / "m.dinoad"
    write_model_file(path, DOCUMENT, some_tensors())
    document, tensors, is_whole = read_model_file(path)
    assert is_whole and document == DOCUMENT
    without_torch, arrays, is_whole = read_model_arrays(path)
    assert is_whole and without_torch == DOCUMENT
    assert tensors.keys() == arrays.keys() == some_tensors().keys()
    for name, tensor in some_tensors().items():
        assert torch.equal(tensors[name], tensor) and tensors[name].dtype == tensor.dtype
        np.testing.assert_array_equal(arrays[name], tensor.numpy(), strict=True)
    write_model_file(tmp_path / "again.dinoad", dict(reversed(DOCUMENT.items())), some_tensors())
    assert (tmp_path / "again.dinoad").read_bytes() == path.read_bytes()


def test_numbers_that_are_none_are_not_written(tmp_path):
    """JSON has none, and other programs could not read the file."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_model_file(tmp_path / "m.dinoad", {**DOCUMENT, "smoothing": float("nan")}, some_tensors())
    assert not list(tmp_path.iterdir())

"""The pretended MPS shows the faults that it is there for."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d

from pretended_mps import pretended_mps

VALUES = torch.arange(6.0).reshape(2, 3)


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        (lambda there: there.double(), "does not support it"),
        (lambda there: torch.zeros(2, device="mps", dtype=torch.float64), "does not support it"),
        (lambda there: there + VALUES, "same device"),
        (lambda there: there.numpy(), "to numpy"),
        (lambda there: adaptive_avg_pool2d(there[None], 2), "must be divisible"),
        (lambda there: torch.linalg.eigvals(there[:, :2]), "not implemented for the MPS"),
    ],
)
def test_it_refuses(wrong, error):
    with pretended_mps():
        there = VALUES.to("mps")
        with pytest.raises((RuntimeError, TypeError), match=error):
            wrong(there)


def test_it_computes():
    with pretended_mps() as seen:
        there = VALUES.to("mps")
        there[0] = 1
        assert (there * 2).sum().item() == 30
        assert torch.equal(adaptive_avg_pool2d(there[None], (1, 3)).cpu(), torch.tensor([[[2.0, 2.5, 3.0]]]))
        assert there.device == torch.device("mps", 0)
    assert {"mul.Tensor", "sum", "_adaptive_avg_pool2d"} <= seen

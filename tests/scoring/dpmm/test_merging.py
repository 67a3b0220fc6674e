"""How much work merging alike components makes."""

from __future__ import annotations

import torch

from napari_dinoad.scoring.dpmm.merging import alike_groups
from napari_dinoad.scoring.dpmm.statistics import SufficientStatistics


def test_work_of_choosing_what_to_merge_grows_as_the_square_of_the_components(monkeypatch):
    """Five models of 750 components are merged; all pairs were looked through for each merge."""
    looked_through = []
    as_numpy = torch.Tensor.numpy

    def counted(tensor):
        looked_through.append(tensor.numel())
        return as_numpy(tensor)

    monkeypatch.setattr(torch.Tensor, "numpy", counted)
    work = []
    for k in (50, 100):
        del looked_through[:]
        generator = torch.Generator().manual_seed(0)
        s = torch.full((k,), 10.0, dtype=torch.float64)
        means = torch.randn(k, 4, generator=generator, dtype=torch.float64)
        statistics = SufficientStatistics(10.0 * k, s, s[:, None] * means, s[:, None] * (means**2 + 1))
        alike_groups(statistics, "diag", 1e-3)
        work.append(sum(looked_through))
    assert 0 < work[1] < 5 * work[0]  # all pairs for each merge: 8 times

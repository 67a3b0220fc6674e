"""Our AdamW is PyTorch's, without the compiler that comes with it."""

from __future__ import annotations

import copy
import subprocess
import sys

import torch
from torch.nn import functional

from napari_dinoad.scoring.ar_cnn.adamw import AdamW

RATES = (0.1, 0.02, 0.3, 0.0, 0.05)


def make_layer():
    return torch.nn.Conv2d(3, 4, 3, dtype=torch.float32)


def gradients_of(layer, seed):
    x = torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    functional.mse_loss(layer(x), torch.ones(2, 4, 3, 3)).backward()


def test_every_step_is_that_of_pytorch():
    ours = make_layer()
    theirs = copy.deepcopy(ours)
    optimiser = AdamW(ours.parameters(), weight_decay=0.3)
    reference = torch.optim.AdamW(theirs.parameters(), weight_decay=0.3)
    for step, rate in enumerate(RATES):
        optimiser.zero_grad()
        gradients_of(ours, step)
        optimiser.step(rate)
        reference.zero_grad()
        gradients_of(theirs, step)
        reference.param_groups[0]["lr"] = rate
        reference.step()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(mine, other)
            assert optimiser.state[mine].keys() == reference.state[other].keys()
            for name, moment in optimiser.state[mine].items():
                assert torch.equal(moment, reference.state[other][name])


def test_a_parameter_without_a_gradient_stays_as_it_is():
    layer = make_layer()
    before = layer.bias.detach().clone()
    layer.bias.requires_grad_(False)
    optimiser = AdamW(layer.parameters(), weight_decay=0.3)
    gradients_of(layer, 0)
    optimiser.step(0.1)
    assert torch.equal(layer.bias, before)
    assert float(optimiser.state[layer.bias]["step"]) == 0
    assert float(optimiser.state[layer.weight]["step"]) == 1


def test_a_fit_loads_neither_the_compiler_nor_triton():
    code = (
        "import sys, torch\n"
        "from napari_dinoad import ArCnnScorer, ArCnnSettings\n"
        "maps = torch.randn(4, 6, 6, 5)\n"
        "ArCnnScorer(ArCnnSettings(epochs=2)).fit([maps], validation=[maps]).score(maps)\n"
        "print(*{'torch._dynamo', 'triton'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []

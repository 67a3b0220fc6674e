"""The recipe of the small network: its targets, its views, and that it is saved as it is."""

from __future__ import annotations

import argparse
import math

import numpy as np
import torch

from distill_images import random_contrast, scene
from distill_network import KIND_SHARES, Model, balanced, loss_of, train
from distill_views import hidden_patches, random_views
from distilled_network import NetworkPlan, SmallVit, load_network, save_network

SMALL = NetworkPlan(dim=32, depth=2, heads=2)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def test_targets_use_every_prototype_alike():
    shares = balanced(torch.rand(64, 16, generator=generator()) * 2 - 1, rounds=50)
    torch.testing.assert_close(shares.sum(1), torch.ones(64))
    torch.testing.assert_close(shares.sum(0), torch.full((16,), 4.0), atol=0.05, rtol=0)


def test_views_are_pictures_and_know_where_they_are():
    """A view of a slope, not mirrored beyond left and right: its brightness is that of its place."""
    rows = torch.linspace(0, 1, 256)[None, :, None].expand(200, 256, 256)
    views = random_views(rows, 64, (0.1, 0.8), generator())
    assert views.images.shape == (200, 64, 64)
    assert float(views.images.min()) >= 0
    assert float(views.images.max()) <= 1
    top, left, height, width = views.boxes.T
    assert float(torch.stack([top, left]).min()) >= 0
    assert float(torch.stack([top + height, left + width]).max()) <= 1 + 1e-6
    middle, found = top + height / 2, views.images.mean((1, 2))
    assert float(torch.corrcoef(torch.stack([middle, found]))[0, 1]) > 0.9


def test_hidden_patches_are_some_or_none():
    hidden = hidden_patches(400, 8, (0.15, 0.5), generator()).float().mean((1, 2))
    assert 0.3 < float((hidden == 0).float().mean()) < 0.7
    some = hidden[hidden > 0]
    assert 0.1 < float(some.min()) <= float(some.max()) <= 0.52


def test_pictures_are_pictures():
    rng = np.random.default_rng(0)
    for picture in (scene(3) / 255, random_contrast(scene(4) / 255, rng)):
        assert picture.shape == (256, 256)
        assert 0 <= picture.min() < 0.1
        assert 0.2 < picture.max() <= 1
    assert np.array_equal(scene(3), scene(3))


def test_the_teacher_gets_no_gradient_and_the_loss_can_be_lowered():
    torch.manual_seed(0)
    student, teacher = Model(SMALL, 48), Model(SMALL, 48).requires_grad_(False)
    teacher.load_state_dict(student.state_dict())
    pictures = torch.stack([torch.from_numpy(scene(i)).float() / 255 for i in range(4)])
    views = [random_views(pictures, 64, (0.2, 0.8), generator(i)) for i in range(2)]
    small = [random_views(pictures, 32, (0.05, 0.2), generator(2))]
    hidden = hidden_patches(8, 4, (0.3, 0.5), generator(5))
    assert hidden.any()
    optimiser = torch.optim.AdamW(student.parameters(), 1e-3)
    losses = []
    for _ in range(15):
        loss = sum(loss_of(student, teacher, views, small, hidden))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_training_goes_on_where_it_stopped(tmp_path):
    """Six steps at once and four after two, with the state file between, give the same network."""
    rng = np.random.default_rng(0)
    pool = {kind: rng.integers(0, 256, (5, 64, 64), dtype=np.uint8) for kind in KIND_SHARES}
    np.savez(tmp_path / "pool.npz", **pool)
    common = {"pool": tmp_path / "pool.npz", "device": "cpu", "seed": 3, "batch": 8, "minutes": math.inf}
    sizes = {"dim": 32, "depth": 1, "heads": 2}
    train(argparse.Namespace(**common, **sizes, steps=6, last=6, out=tmp_path / "whole.safetensors"))
    for last in (2, 6):
        train(argparse.Namespace(**common, **sizes, steps=6, last=last, out=tmp_path / "parts.safetensors"))
    whole, parts = (
        load_network(tmp_path / f"{name}.safetensors").state_dict() for name in ("whole", "parts")
    )
    for name, value in whole.items():
        assert torch.equal(value, parts[name]), name


def test_a_saved_network_gives_the_same_tokens_on_any_grid(tmp_path):
    torch.manual_seed(1)
    network = SmallVit(SMALL).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.copy_(parameter.half().float())
    save_network(network, tmp_path / "n.safetensors")
    again = load_network(tmp_path / "n.safetensors")
    images, whole = torch.rand(2, 64, 96, generator=generator()), torch.tensor([[0.0, 0, 1, 1]] * 2)
    with torch.no_grad():
        tokens = network(images, whole)[1]
        assert tokens.shape == (2, 4, 6, 32)
        assert torch.equal(tokens, again(images, whole)[1])

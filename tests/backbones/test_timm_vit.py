"""Patch tokens of timm's networks."""

from __future__ import annotations

import builtins
import re

import numpy as np
import pytest
import torch

from napari_dinoad.backbones import load_backbone, timm_vit
from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.backbones.timm_vit import TimmBackbone, import_timm, make_model
from napari_dinoad.errors import BackboneError
from napari_dinoad.machine.faults import fault_of_machine
from pretended_gpu import GpuTensor, pretended_gpu
from tiny_networks import FAMILIES, randomise

CPU = torch.device("cpu")


def backbone_of(name, device=CPU):
    spec = find_backbone(name)
    model = make_model(spec)
    randomise(model)
    return TimmBackbone(spec, model, device)


@pytest.mark.parametrize(("name", "grid"), [("dinov2_vits14", (32, 32)), ("dinov3_vits16", (28, 28))])
def test_published_sizes_give_the_papers_grids(name, grid):
    spec = find_backbone(name)
    backbone = TimmBackbone(spec, make_model(spec), CPU)
    assert backbone.default_resolution_px == 448
    assert backbone.patch_grid(448, 448) == grid
    assert backbone(np.zeros((1, 448, 448), np.float32)).values.shape == (1, *grid, 384)


@pytest.mark.parametrize("name", FAMILIES)
def test_any_size_and_order_of_slices(name, tiny_timm):
    backbone = backbone_of(name)
    patch = backbone.patch_size_px
    images = np.random.default_rng(0).random((3, 5 * patch, 9 * patch), dtype=np.float32)
    embeddings = backbone(images)
    assert embeddings.values.shape == (3, 5, 9, backbone.embedding_dim)
    assert embeddings.patch_grid == backbone.patch_grid(5 * patch, 9 * patch) == (5, 9)
    assert embeddings.values.dtype == torch.float32
    assert embeddings.values.is_contiguous()
    assert torch.equal(embeddings.values, backbone(images).values)
    for i in range(3):
        torch.testing.assert_close(
            backbone(images[i : i + 1]).values[0], embeddings.values[i], atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize("name", FAMILIES)
def test_grey_is_three_equal_channels_and_colour_is_not(name, tiny_timm):
    backbone = backbone_of(name)
    patch = backbone.patch_size_px
    grey = torch.rand(2, 4 * patch, 5 * patch, generator=torch.Generator().manual_seed(0))
    equal = grey[:, None].repeat(1, 3, 1, 1)
    assert torch.equal(backbone(grey).values, backbone(equal).values)
    turned = equal.clone()
    turned[:, 0] = 1 - turned[:, 0]
    tokens = backbone(turned).values
    assert tokens.shape == backbone(grey).values.shape
    assert not torch.allclose(tokens, backbone(grey).values, atol=1e-3)
    assert not torch.allclose(tokens, backbone(turned.flip(1)).values, atol=1e-3), "red is not blue"


@pytest.mark.parametrize("name", FAMILIES)
def test_another_size_in_between_changes_nothing(name, tiny_timm):
    backbone = backbone_of(name)
    patch = backbone.patch_size_px
    images = torch.rand(1, 6 * patch, 4 * patch)
    before, digest = backbone(images).values, backbone.weights_sha256
    backbone(torch.rand(1, 8 * patch, 8 * patch))
    assert torch.equal(backbone(images).values, before)
    del backbone.weights_sha256
    assert backbone.weights_sha256 == digest


@pytest.mark.parametrize("name", ["dinov2_vits14", "dinov3_convnext_tiny", "embedded"])
def test_no_slices_and_bytes_in_another_order(name, tiny_timm):
    backbone = load_backbone("embedded", device="cpu") if name == "embedded" else backbone_of(name)
    patch = backbone.patch_size_px
    images = np.random.default_rng(0).random((1, 4 * patch, 6 * patch), dtype=np.float32)
    assert backbone(images[:0]).values.shape == (0, 4, 6, backbone.embedding_dim)
    expected = backbone(images).values
    for order in "<>":
        assert torch.equal(backbone(images.astype(f"{order}f4")).values, expected)


def test_scorers_may_train_on_the_embeddings(tiny_timm):
    values = backbone_of("dinov2_vits14")(torch.rand(1, 56, 56)).values
    layer = torch.nn.Linear(values.shape[-1], 2)
    layer(values).sum().backward()
    assert layer.weight.grad is not None


@pytest.mark.parametrize("name", ["dinov2_vits14_reg", "dinov3_vits16"])
def test_averaged_layers(name, tiny_timm):
    last, only, both = (backbone_of(name + suffix) for suffix in ("", ":last1", ":last2"))
    patch = last.patch_size_px
    images = torch.rand(1, 4 * patch, 6 * patch)
    torch.testing.assert_close(only(images).values, last(images).values)
    assert not torch.allclose(both(images).values, last(images).values)
    # What each block gives, by itself; the network's norm comes after it.
    network, outputs = both._model, []
    for block in network.blocks:
        block.register_forward_hook(lambda *given: outputs.append(given[-1]))
    tokens = both(images).values
    with torch.no_grad():
        normed = [network.norm(output)[:, network.num_prefix_tokens :] for output in outputs]
    assert len(normed) == 2
    torch.testing.assert_close(tokens, torch.stack(normed).mean(0).reshape(tokens.shape))
    assert both.weights_sha256 == last.weights_sha256


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("dinov2_vits14:last3", "last 3 blocks; this network has 2"),
        ("dinov3_vits16:last99", "last 99 blocks; this network has 2"),
        ("timm:convnext_tiny:last4", "this network has none of one size"),
    ],
)
def test_more_blocks_than_there_are_cannot_be_averaged(name, message, tiny_timm):
    with pytest.raises(BackboneError, match=message):
        backbone_of(name)


@pytest.mark.parametrize(
    ("name", "patch", "dim"),
    [
        ("timm:vit_tiny_r_s16_p8_224", 32, 192),
        ("timm:vit_small_r26_s32_224", 32, 384),
        ("timm:vitamin_small_224", 16, 384),
        ("timm:convnext_tiny_hnf", 32, 768),
    ],
)
def test_a_stem_of_convolutions_counts_in_the_patch_size(name, patch, dim):
    with torch.device("meta"):
        backbone = TimmBackbone.__new__(TimmBackbone)
        backbone._spec, backbone._model = find_backbone(name), make_model(find_backbone(name))
        backbone._is_convnext = "convnext" in name
        tokens = backbone._forward(torch.empty(2, 3, 3 * patch, 5 * patch))
    assert backbone.patch_size_px == patch
    assert tokens.flatten(1, -2).shape == (2, 15, dim)


@pytest.mark.parametrize("shape", [(2, 16, 24), (2, 8, 48), (2, 4, 4, 24)])
def test_tokens_that_are_not_one_a_patch_are_refused(shape, tiny_timm, monkeypatch):
    backbone = backbone_of("dinov2_vits14")
    monkeypatch.setattr(backbone, "_forward", lambda channels: torch.zeros(shape))
    with pytest.raises(BackboneError, match=r"expected 4×4 patch tokens of length 48 a slice, got"):
        backbone(torch.rand(2, 56, 56))


def test_moved_content_moves_the_embeddings():
    """Rows are rows and columns are columns: an object at the lower left changes most there."""
    spec = find_backbone("dinov3_vits16")
    backbone = TimmBackbone(spec, make_model(spec), CPU)
    plain = torch.full((1, 64, 128), 0.2)
    marked = plain.clone()
    marked[0, 48:, :16] = 0.9
    change = (backbone(marked).values - backbone(plain).values).norm(dim=-1)[0]
    assert np.unravel_index(int(change.argmax()), change.shape) == (3, 0)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((1, 60, 56), np.float32), r"multiples of its patch size of 14.*56×56"),
        (np.zeros((1, 7, 14), np.float32), r"Use 14×14"),
        (np.zeros((56, 56), np.float32), r"expected grey slices"),
        (np.zeros((1, 56, 56), np.uint8), r"expected grey slices"),
        (np.zeros((1, 4, 56, 56), np.float32), r"or \(n, 3, height, width\) of colour"),
        (np.full((1, 56, 56), np.nan, np.float32), r"finite"),
    ],
)
def test_wrong_images_are_refused(images, message, tiny_timm):
    with pytest.raises(BackboneError, match=message):
        backbone_of("dinov2_vits14")(images)


def let_timm_fail(monkeypatch, fault):
    real_import = builtins.__import__

    def failing_import(name, *args, **kwargs):
        if name == "timm":
            raise fault
        return real_import(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", failing_import)


@pytest.mark.parametrize(
    ("fault", "advice"),
    [
        (FileNotFoundError(2, "No usable temporary directory found in ['/tmp']"), "TMPDIR"),
        (ImportError("libtorchvision.so: failed to map segment from shared object"), "Memory is used up"),
    ],
)
def test_what_timm_lacks_of_the_machine_is_no_mismatch(monkeypatch, fault, advice):
    """Nothing that is installed anew would help."""
    let_timm_fail(monkeypatch, fault)
    with pytest.raises(type(fault)) as caught:
        import_timm()
    assert re.search(advice, str(fault_of_machine(caught.value)))


@pytest.mark.parametrize(
    "fault",
    [RuntimeError("operator torchvision::nms does not exist"), ValueError("no such operator"), ImportError()],
)
def test_mismatched_torchvision_says_what_to_install(monkeypatch, fault):
    let_timm_fail(monkeypatch, fault)
    with pytest.raises(
        BackboneError, match=r'pip install --force-reinstall "torch==\d+\.\d+\.\d+" torchvision timm'
    ):
        import_timm()


@pytest.mark.parametrize("name", FAMILIES)
def test_tokens_of_a_gpu(name, tiny_timm, monkeypatch):
    monkeypatch.setattr(timm_vit, "choose_precision", lambda device: torch.float32)
    backbone = backbone_of(name)
    patch = backbone.patch_size_px
    images = torch.rand(3, 4 * patch, 6 * patch)
    expected = backbone(images).values
    with pretended_gpu() as waits:
        on_gpu = backbone_of(name, torch.device("cuda", 0))
        assert on_gpu.weights_sha256 == backbone.weights_sha256
        on_gpu(images[:1])
        waits.clear()
        got = on_gpu(images).values
        assert isinstance(got, GpuTensor)
        assert not waits
        # Positions are interpolated on the CPU: MPS has no kernel for it in PyTorch 2.6 and 2.7.
        assert not [name for name in waits.launches if "bicubic" in name]
        torch.testing.assert_close(got.cpu(), expected, atol=1e-5, rtol=1e-5)

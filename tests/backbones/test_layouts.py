"""The same weights in timm's, Meta's and Transformers' layout give the same patch tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from napari_dinoad.backbones import load_backbone
from napari_dinoad.backbones.layouts import describe, layout_of
from napari_dinoad.backbones.registry import find_backbone
from napari_dinoad.backbones.timm_vit import make_model
from tiny_networks import FAMILIES, TINY_CONVNEXT, TINY_VIT, randomise, to_meta, to_transformers

WRITERS = {"timm": dict, "meta": to_meta, "transformers": to_transformers}


def random_state(name, *, with_bias=False):
    model = make_model(find_backbone(name), with_bias=with_bias)
    randomise(model)
    return {key: value.clone() for key, value in model.state_dict().items()}


def slices(name, n=2):
    patch = find_backbone(name).patch_size_px
    return np.random.default_rng(0).random((n, 4 * patch, 6 * patch), dtype=np.float32)


@pytest.mark.parametrize("name", FAMILIES)
def test_every_layout_gives_the_same_tokens(name, tiny_timm, tmp_path):
    state = random_state(name)
    tokens, hashes = {}, set()
    for layout, write in WRITERS.items():
        written = {key: value.contiguous() for key, value in write(state).items()}
        assert layout_of(written) == layout
        file = tmp_path / f"{layout}.pth"
        torch.save(written, file)
        backbone = load_backbone(name, file, "cpu")
        tokens[layout] = backbone(slices(name)).values
        hashes.add(backbone.weights_sha256)
    # With registers Meta's class token lacks its position, which timm adds; the sum is rounded.
    exact = name != "dinov2_vits14_reg"
    assert (len(hashes) == 1) or not exact
    for layout in ("meta", "transformers"):
        torch.testing.assert_close(tokens[layout], tokens["timm"], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", ["dinov3_vits16", "dinov3_vits16plus"])
def test_biases_of_queries_and_values_count_and_those_of_keys_do_not(name, tiny_timm, tmp_path):
    state = random_state(name, with_bias=True)
    expected = None
    for layout, write in WRITERS.items():
        file = tmp_path / f"{layout}.safetensors"
        save_file({key: value.contiguous() for key, value in write(state).items()}, file)
        tokens = load_backbone(name, file, "cpu")(slices(name)).values
        expected = tokens if expected is None else expected
        torch.testing.assert_close(tokens, expected, atol=1e-5, rtol=1e-5)
    without = {key: value for key, value in state.items() if not key.endswith(("q_bias", "v_bias"))}
    torch.save(without, tmp_path / "without.pth")
    assert not torch.allclose(
        load_backbone(name, tmp_path / "without.pth", "cpu")(slices(name)).values, expected
    )


def test_bias_of_zeros_is_the_same_model_as_none(tiny_timm, tmp_path):
    state = random_state("dinov3_vits16", with_bias=True)
    zeros = {k: torch.zeros_like(v) if k.endswith(("q_bias", "v_bias")) else v for k, v in state.items()}
    without = {key: value for key, value in state.items() if not key.endswith(("q_bias", "v_bias"))}
    torch.save(to_meta(zeros), tmp_path / "zeros.pth")
    torch.save(without, tmp_path / "without.pth")
    hashes = {load_backbone("dinov3_vits16", file, "cpu").weights_sha256 for file in tmp_path.glob("*.pth")}
    assert len(hashes) == 1


def _transformers_model(name):
    transformers = pytest.importorskip("transformers", reason="Transformers, the referee, is not installed")
    vit = {
        "hidden_size": TINY_VIT["embed_dim"],
        "num_hidden_layers": TINY_VIT["depth"],
        "num_attention_heads": TINY_VIT["num_heads"],
        "attn_implementation": "eager",
    }
    if name == "dinov3_convnext_tiny":
        config = transformers.DINOv3ConvNextConfig(
            hidden_sizes=list(TINY_CONVNEXT["dims"]), depths=list(TINY_CONVNEXT["depths"])
        )
        return transformers.DINOv3ConvNextModel(config), 1
    if name.startswith("dinov3"):
        gated = name.endswith("plus")
        hidden = TINY_VIT["embed_dim"] * 4
        config = transformers.DINOv3ViTConfig(
            **vit,
            image_size=224,
            patch_size=16,
            num_register_tokens=4,
            use_gated_mlp=gated,
            intermediate_size=hidden,
            hidden_act="silu" if gated else "gelu",
        )
        return transformers.DINOv3ViTModel(config), 5
    vit |= {"image_size": 518, "patch_size": 14, "use_swiglu_ffn": "vitg" in name}
    if name.endswith("_reg"):
        return transformers.Dinov2WithRegistersModel(
            transformers.Dinov2WithRegistersConfig(**vit, num_register_tokens=4)
        ), 5
    return transformers.Dinov2Model(transformers.Dinov2Config(**vit)), 1


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", FAMILIES)
def test_transformers_own_forward_agrees(name, tiny_timm, tmp_path):
    model, n_prefix = _transformers_model(name)
    randomise(model.eval(), seed=1)
    model.save_pretrained(tmp_path)
    backbone = load_backbone(name, tmp_path, "cpu")
    patch = backbone.patch_size_px
    for side in ((7, 12), (37, 37), (32, 32)):
        images = torch.rand((1, side[0] * patch, side[1] * patch), generator=torch.Generator().manual_seed(2))
        channels = (images[:, None] - backbone._mean) / backbone._std
        with torch.inference_mode():
            expected = model(pixel_values=channels).last_hidden_state[:, n_prefix:].reshape(1, *side, -1)
        scale = float(expected.abs().max())
        got = backbone(images).values
        torch.testing.assert_close(got / scale, expected / scale, atol=1e-5, rtol=1e-5)


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("name", ["dinov2_vitg14", "dinov2_vits14_reg", "dinov3_vits16plus"])
def test_what_transformers_holds_in_memory_are_the_weights_that_it_saves(name, tiny_timm, tmp_path):
    """Its state dict, as scripts save it: newer versions have other names and tensors there than in their files."""
    model, _ = _transformers_model(name)
    randomise(model.eval(), seed=1)
    model.save_pretrained(tmp_path / "saved")
    torch.save(model.state_dict(), tmp_path / "state.pth")
    saved, of_state = (load_backbone(name, tmp_path / file, "cpu") for file in ("saved", "state.pth"))
    assert of_state.weights_sha256 == saved.weights_sha256


@pytest.mark.parametrize("layout", WRITERS)
@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "dinov2_vits14",
            "a vision transformer with embeddings of length 48, 2 blocks, patches of 14 px and 0 ",
        ),
        (
            "dinov2_vits14_reg",
            "a vision transformer with embeddings of length 48, 2 blocks, patches of 14 px and 4 ",
        ),
        (
            "dinov3_vits16",
            "a vision transformer with embeddings of length 48, 2 blocks, patches of 16 px and 4 ",
        ),
        ("dinov3_convnext_tiny", "a ConvNeXt (32 channels) "),
    ],
)
def test_what_a_file_holds_is_told_in_words_whatever_its_layout(name, told, layout, tiny_timm):
    words = describe(WRITERS[layout](random_state(name)))
    assert words == f"{told}{'register tokens ' if 'transformer' in told else ''}in {layout}'s layout"


@pytest.mark.parametrize("names", [("cls_token",), ("blocks.0.norm1.weight",), ("layer1.0.conv1.weight",)])
def test_what_has_no_class_token_or_no_blocks_is_told_as_no_network_of_ours(names):
    words = describe({name: torch.zeros(1, 1, 48) for name in names})
    assert words.startswith(f"no vision transformer or ConvNeXt of DINO's (1 tensors such as {names[0]!r}")

"""Names: what is listed, what is refused, and that listing needs no torch."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from napari_dinoad.backbones import find_backbone, list_backbones
from napari_dinoad.backbones.timm_vit import TimmBackbone, make_model
from napari_dinoad.errors import BackboneError


def test_listing_loads_neither_torch_nor_timm():
    code = (
        "import sys; from napari_dinoad.backbones import list_backbones, find_backbone; list_backbones(); "
        "sys.exit(any(m in sys.modules for m in ('torch', 'timm', 'huggingface_hub', 'napari')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_names_are_unique_and_complete():
    specs = list_backbones()
    assert specs[0].name == "embedded"
    assert not specs[0].needs_weights
    assert "no DINO" in specs[0].description
    assert not specs[0].is_dino
    names = [spec.name for spec in specs]
    assert len(set(names)) == len(names)
    assert {f"dinov2_vit{s}14{r}" for s in "sblg" for r in ("", "_reg")} <= set(names)
    sizes = ("s16", "s16plus", "b16", "l16", "h16plus", "7b16")
    assert {f"dinov3_vit{size}" for size in sizes} <= set(names)
    assert "eupe_vitt16" in names
    assert not find_backbone("eupe_vitt16").is_dino


@pytest.mark.parametrize("spec", [s for s in list_backbones() if s.needs_weights], ids=lambda spec: spec.name)
def test_the_table_says_what_timm_builds(spec):
    with torch.device("meta"):
        model = make_model(spec)
        assert sum(p.numel() for p in model.parameters()) == spec.parameters
        assert model.num_features == spec.embedding_dim
    assert model.pretrained_cfg["hf_hub_id"] == f"timm/{spec.timm_name}"
    assert model.pretrained_cfg["license"].split("-")[0].lower() in spec.licence.lower()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("dinov2", "dinov2_vits14, "),
        ("dinov3-vits16", "Did you mean 'dinov3_vits16'"),
        ("DINOv2_ViTS14", "Did you mean 'dinov2_vits14'"),
        ("dinov2_vits41", "dinov2_vits14"),
        ("vit_small_patch14_dinov2.lvd142m", "Use 'dinov2_vits14'"),
        ("vit_small_patch16_dinov3", "Use 'dinov3_vits16'"),
        ("resnet", "Known are embedded"),
        ("", "Known are embedded"),
        ("timm:", "Known are embedded"),
        ("embedded:last2", "no blocks"),
        ("dinov3_convnext_tiny:last2", "no blocks"),
    ],
)
def test_unknown_and_ambiguous_names_are_refused_with_those_meant(name, meant):
    with pytest.raises(BackboneError) as caught:
        find_backbone(name)
    assert meant in str(caught.value)


def test_layers_are_part_of_the_name():
    spec = find_backbone("dinov2_vits14:last4")
    assert spec.n_layers == 4
    assert spec.base_name == "dinov2_vits14"
    assert (
        find_backbone("timm:vit_tiny_patch16_224.augreg_in21k:last2").timm_name
        == "vit_tiny_patch16_224.augreg_in21k"
    )


def test_names_that_timm_does_not_know_or_that_are_no_transformer_are_refused():
    with pytest.raises(BackboneError, match="knows no 'vit_of_tomorrow'"):
        make_model(find_backbone("timm:vit_of_tomorrow"))
    with pytest.raises(BackboneError, match="resnet18"):
        make_model(find_backbone("timm:resnet18"))


def test_any_transformer_of_timm_works(tiny_timm):
    spec = find_backbone("timm:vit_tiny_patch16_224.augreg_in21k")
    backbone = TimmBackbone(spec, make_model(spec), torch.device("cpu"))
    assert backbone(torch.rand(1, 48, 80)).values.shape == (1, 3, 5, 48)
    assert not backbone.is_dino

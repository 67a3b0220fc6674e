"""Tiny networks of every family with random weights, and their weights in each published layout.

The writers here go the other way round than `napari_dinoad.backbones.layouts`: from timm's names to Meta's and to
those of Transformers.
"""

from __future__ import annotations

import re

import timm
import torch

_TIMM_CREATE_MODEL = timm.create_model

TINY_VIT = {"embed_dim": 48, "depth": 2, "num_heads": 2}
TINY_CONVNEXT = {"depths": (1, 1, 2, 1), "dims": (8, 16, 24, 32)}

FAMILIES = (
    "dinov2_vits14",
    "dinov2_vits14_reg",
    "dinov2_vitg14",
    "dinov3_vits16",
    "dinov3_vits16plus",
    "dinov3_convnext_tiny",
)
"""One of each kind of network: plain, with registers, gated (packed), rotary, rotary and gated, convolutional."""


def create_tiny_model(name, pretrained=False, **options):
    """Stand in for ``timm.create_model``: the same network, thinner and shallower."""
    size = TINY_CONVNEXT if name.startswith("convnext") else TINY_VIT
    return _TIMM_CREATE_MODEL(name, pretrained=pretrained, **size, **options)


def randomise(model: torch.nn.Module, seed: int = 0) -> None:
    """Give every weight a value that matters; initial layer scales of 1e-5 would hide each block."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)


def to_meta(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return timm's weights under the names of Meta's files, with what only training needs."""
    if any(".conv_dw." in key for key in state):
        return _convnext_to_meta(state)
    state = dict(state)
    rotary = "pos_embed" not in state
    dim = state["cls_token"].shape[-1]
    meta = {"mask_token": torch.zeros(1, dim)}
    if not rotary and "reg_token" in state:
        zero_position = 0.5 * torch.ones(1, 1, dim)
        state["pos_embed"] = torch.cat([zero_position, state["pos_embed"]], dim=1)
        state["cls_token"] = state["cls_token"] - zero_position
    gated = (
        any(".mlp.fc1_g." in key for key in state)
        or state["blocks.0.mlp.fc1.weight"].shape[0] > (state["blocks.0.mlp.fc2.weight"].shape[1])
    )
    for key, value in state.items():
        if key.endswith("attn.q_bias"):
            values = state[key.replace("q_bias", "v_bias")]
            name = key.replace("q_bias", "qkv.bias")
            # The keys' part is masked: whatever is stored there has no say.
            meta[name] = torch.cat([value, torch.full_like(value, 7.0), values])
            meta[f"{name}_mask"] = torch.cat(
                [torch.ones_like(value), torch.zeros_like(value), torch.ones_like(value)]
            )
            continue
        if key.endswith("attn.v_bias"):
            continue
        key = key.replace("reg_token", "storage_tokens" if rotary else "register_tokens")
        key = re.sub(r"\.gamma_([12])$", r".ls\1.gamma", key)
        if gated:
            for old, new in (("fc1_g", "w1"), ("fc1_x", "w2"), ("fc1", "w12"), ("fc2", "w3")):
                key = key.replace(f".mlp.{old}.", f".mlp.{new}.")
        meta[key] = value
    if rotary:
        meta["rope_embed.periods"] = torch.ones(3)
        meta["local_cls_norm.weight"] = torch.ones(dim)
    return meta


def _convnext_to_meta(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    meta = {}
    for key, value in state.items():
        key = re.sub(r"^stem\.", "downsample_layers.0.", key)
        key = re.sub(r"^stages\.(\d)\.downsample\.", r"downsample_layers.\1.", key)
        key = re.sub(r"^stages\.(\d)\.blocks\.", r"stages.\1.", key)
        key = key.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv").replace("head.norm.", "norm.")
        meta[key] = value
    meta["norms.3.weight"] = meta["norm.weight"]
    return meta


def to_transformers(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return timm's weights under the names of Transformers' files."""
    meta = to_meta(state)
    if "downsample_layers.0.0.weight" in meta:
        rules = (
            (r"^downsample_layers\.(\d)\.", r"stages.\1.downsample_layers."),
            (r"^stages\.(\d)\.(\d+)\.", r"stages.\1.layers.\2."),
            (r"\.dwconv\.", ".depthwise_conv."),
            (r"\.norm\.", ".layer_norm."),
            (r"\.pwconv([12])\.", r".pointwise_conv\1."),
            (r"^norm\.", "layer_norm."),
        )
        return {_apply(rules, key): value for key, value in meta.items() if not key.startswith("norms.")}
    dinov2 = "pos_embed" in meta
    renamed = {}
    for key, value in meta.items():
        if key.endswith("_mask") or key.startswith(("rope_embed", "local_cls_norm")):
            continue
        if ".attn.qkv." in key:
            for part, chunk in zip(("query", "key", "value"), value.chunk(3), strict=True):
                if key.endswith("bias") and part == "key" and not dinov2:
                    continue
                name = f"attention.attention.{part}" if dinov2 else f"attention.{part[0]}_proj"
                renamed[_apply(_RULES_V2 if dinov2 else _RULES_V3, key.replace("attn.qkv", name))] = chunk
            continue
        renamed[_apply(_RULES_V2 if dinov2 else _RULES_V3, key)] = value
    return renamed


_RULES_V2 = (
    (r"^blocks\.", "encoder.layer."),
    (r"\.attn\.proj\.", ".attention.output.dense."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w12\.", ".mlp.weights_in."),
    (r"\.mlp\.w3\.", ".mlp.weights_out."),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings.projection."),
    (r"^pos_embed$", "embeddings.position_embeddings"),
    (r"^(cls_token|mask_token|register_tokens)$", r"embeddings.\1"),
    (r"^norm\.", "layernorm."),
)
_RULES_V3 = (
    (r"^blocks\.", "layer."),
    (r"\.attn\.proj\.", ".attention.o_proj."),
    (r"\.ls([12])\.gamma$", r".layer_scale\1.lambda1"),
    (r"\.mlp\.w1\.", ".mlp.gate_proj."),
    (r"\.mlp\.w2\.", ".mlp.up_proj."),
    (r"\.mlp\.w3\.", ".mlp.down_proj."),
    (r"\.mlp\.fc1\.", ".mlp.up_proj."),
    (r"\.mlp\.fc2\.", ".mlp.down_proj."),
    (r"^patch_embed\.proj\.", "embeddings.patch_embeddings."),
    (r"^storage_tokens$", "embeddings.register_tokens"),
    (r"^(cls_token|mask_token)$", r"embeddings.\1"),
)


def _apply(rules, key):
    for pattern, replacement in rules:
        key = re.sub(pattern, replacement, key)
    return key

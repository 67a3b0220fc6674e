"""The three layouts in which DINO weights are published, and their conversion to timm's.

Names differ, and so do a few tensors: queries, keys and values are apart or together; with registers timm adds the
class token's positional embedding to the token itself. Written from the names in the published files.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["Architecture", "Layout", "describe", "embedding_dim_of", "layout_of", "to_timm"]

Layout = Literal["timm", "meta", "transformers"]
Architecture = Literal["dinov2", "dinov3", "convnext", "other"]
"""``dinov2``: positional embedding, ``dinov3``: rotary; ``other``: only timm's own layout is known."""

Tensors = dict[str, torch.Tensor]

_TO_META: dict[Architecture, tuple[tuple[str, str], ...]] = {
    "dinov2": (
        (r"^(?:dinov2|dinov2_with_registers)\.", ""),
        (r"^embeddings\.position_embeddings$", "pos_embed"),
        (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
        (r"^embeddings\.", ""),
        (r"^(?:encoder|model)\.layer\.(\d+)\.", r"blocks.\1."),
        (r"\.attention\.(?:attention\.query|q_proj)\.", ".attn.q."),
        (r"\.attention\.(?:attention\.key|k_proj)\.", ".attn.k."),
        (r"\.attention\.(?:attention\.value|v_proj)\.", ".attn.v."),
        (r"\.attention\.(?:output\.dense|o_proj)\.", ".attn.proj."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
        (r"\.mlp\.weights_in\.", ".mlp.w12."),
        (r"\.mlp\.weights_out\.", ".mlp.w3."),
        (r"^layernorm\.", "norm."),
    ),
    "dinov3": (
        (r"^dinov3_vit\.", ""),
        (r"^embeddings\.patch_embeddings\.", "patch_embed.proj."),
        (r"^embeddings\.register_tokens$", "storage_tokens"),
        (r"^embeddings\.", ""),
        (r"^(?:model\.)?layer\.(\d+)\.", r"blocks.\1."),
        (r"\.attention\.([qkv])_proj\.", r".attn.\1."),
        (r"\.attention\.o_proj\.", ".attn.proj."),
        (r"\.layer_scale([12])\.lambda1$", r".ls\1.gamma"),
    ),
    "convnext": (
        (r"^(?:dinov3_convnext|model)\.(?=stages)", ""),
        (r"^stages\.(\d+)\.downsample_layers\.", r"downsample_layers.\1."),
        (r"^stages\.(\d+)\.layers\.", r"stages.\1."),
        (r"\.depthwise_conv\.", ".dwconv."),
        (r"\.layer_norm\.", ".norm."),
        (r"\.pointwise_conv([12])\.", r".pwconv\1."),
        (r"^layer_norm\.", "norm."),
    ),
    "other": (),
}

_TO_TIMM: dict[Architecture, tuple[tuple[str, str], ...]] = {
    "dinov2": (
        (r"^blocks\.\d+\.(\d+)\.", r"blocks.\1."),  # Trained in chunks of blocks, which go on counting.
        (r"^register_tokens$", "reg_token"),
        (r"\.mlp\.w12\.", ".mlp.fc1."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    ),
    "dinov3": (
        (r"^storage_tokens$", "reg_token"),
        (r"\.ls([12])\.gamma$", r".gamma_\1"),
        (r"\.mlp\.w1\.", ".mlp.fc1_g."),
        (r"\.mlp\.w2\.", ".mlp.fc1_x."),
        (r"\.mlp\.w3\.", ".mlp.fc2."),
    ),
    "convnext": (
        (r"^downsample_layers\.0\.", "stem."),
        (r"^downsample_layers\.(\d+)\.", r"stages.\1.downsample."),
        (r"^stages\.(\d+)\.(\d+)\.", r"stages.\1.blocks.\2."),
        (r"\.dwconv\.", ".conv_dw."),
        (r"\.pwconv([12])\.", r".mlp.fc\1."),
        (r"^norm\.", "head.norm."),
    ),
    "other": (),
}

_TRAINING_ONLY = re.compile(
    r"^mask_token$|^rope_embed\.|\.bias_mask$|^(?:local_)?cls_norm\.|^norms\.|^projectors\.|^(?:head|dino_head|ibot_head)\."
)
"""In the published files, but without part in the patch tokens."""


def layout_of(names: Iterable[str]) -> Layout:
    """Return the layout that these tensor names belong to; timm's when nothing speaks for another."""
    names = set(names)
    if any("embeddings.patch_embeddings." in n or ".depthwise_conv." in n for n in names):
        return "transformers"
    marks = (
        "mask_token",
        "register_tokens",
        "storage_tokens",
        "rope_embed.periods",
        "downsample_layers.0.0.weight",
    )
    if any(mark in names for mark in marks) or any(".mlp.w12." in n for n in names):
        return "meta"
    return "timm"


def to_timm(tensors: Mapping[str, torch.Tensor], architecture: Architecture) -> Tensors:
    """Return weights of any known layout under timm's names, float32.

    Parameters
    ----------
    tensors : Mapping[str, torch.Tensor]
        As read from the file.
    architecture : str
        What they should belong to. Names that do not fit it stay as they are; the check against the model
        finds them.

    Returns
    -------
    dict
        DINOv3's query and value biases are there only if one of them is not zero, as timm has models with and
        without; its key biases are always masked out.
    """
    layout = layout_of(tensors)
    named = dict(tensors)
    if layout == "transformers":
        named = _together(_renamed(named, _TO_META[architecture]))
    if layout != "timm":
        named = {key: value for key, value in named.items() if not _TRAINING_ONLY.search(key)}
        if architecture == "dinov3":
            named = _bias_apart(named)
        named = _renamed(named, _TO_TIMM[architecture])
        if architecture == "dinov2" and "reg_token" in named:
            named = _class_position_folded(named)
    head = "head.fc." if architecture == "convnext" else "head."
    named = {key: value for key, value in named.items() if not key.startswith(head)}
    named = {key: value.float() if value.is_floating_point() else value for key, value in named.items()}
    return _without_zero_bias(named) if architecture == "dinov3" else named


def _renamed(tensors: Tensors, rules: tuple[tuple[str, str], ...]) -> Tensors:
    renamed = {}
    for key, value in tensors.items():
        for pattern, replacement in rules:
            key = re.sub(pattern, replacement, key)
        renamed[key] = value
    return renamed


def _together(tensors: Tensors) -> Tensors:
    """Join what Transformers keeps apart: queries, keys and values; the two halves of a gated layer."""
    joined: Tensors = {}
    gated = any(".mlp.gate_proj." in key for key in tensors)
    packed = "pos_embed" in tensors  # DINOv2's gated layer is one matrix, DINOv3's are two
    for key, value in tensors.items():
        if ".attn.k." in key or ".attn.v." in key or (packed and ".mlp.up_proj." in key and gated):
            continue
        if ".attn.q.weight" in key:
            parts = [tensors[key.replace(".attn.q.", f".attn.{part}.")] for part in "qkv"]
            joined[key.replace(".attn.q.", ".attn.qkv.")] = torch.cat(parts)
        elif ".attn.q.bias" in key:
            values = tensors[key.replace(".attn.q.", ".attn.v.")]
            keys = tensors.get(key.replace(".attn.q.", ".attn.k."), torch.zeros_like(value))
            joined[key.replace(".attn.q.", ".attn.qkv.")] = torch.cat([value, keys, values])
        elif packed and ".mlp.gate_proj." in key:
            up = tensors[key.replace(".gate_proj.", ".up_proj.")]
            joined[key.replace(".gate_proj.", ".w12.")] = torch.cat([value, up])
        else:
            joined[key] = value
    names = (
        (("gate_proj", "w1"), ("up_proj", "w2"), ("down_proj", "w3"))
        if gated
        else (
            ("up_proj", "fc1"),
            ("down_proj", "fc2"),
        )
    )
    return _renamed(joined, tuple((rf"\.mlp\.{old}\.", f".mlp.{new}.") for old, new in names))


def _bias_apart(tensors: Tensors) -> Tensors:
    """Split DINOv3's query-key-value bias; the keys' part is masked out in the published models."""
    apart: Tensors = {}
    for key, value in tensors.items():
        if key.endswith(".attn.qkv.bias"):
            queries, _, values = value.chunk(3)
            apart[key.replace("qkv.bias", "q_bias")] = queries.contiguous()
            apart[key.replace("qkv.bias", "v_bias")] = values.contiguous()
        else:
            apart[key] = value
    return apart


def _without_zero_bias(tensors: Tensors) -> Tensors:
    biases = [key for key in tensors if key.endswith((".attn.q_bias", ".attn.v_bias"))]
    if any(bool(tensors[key].any()) for key in biases):
        return tensors
    return {key: value for key, value in tensors.items() if key not in biases}


def _class_position_folded(tensors: Tensors) -> Tensors:
    position = tensors["pos_embed"]
    folded = dict(tensors)
    folded["cls_token"] = tensors["cls_token"] + position[:, :1]
    folded["pos_embed"] = position[:, 1:].contiguous()
    return folded


def embedding_dim_of(tensors: Mapping[str, torch.Tensor]) -> int:
    """Return the length of the embeddings that a network with these weights gives, or 0 if they are of none."""
    last_norm = (
        r"^(?:[a-z0-9_]+\.)?(?:norm|layer_norm)\.weight$" if _is_convnext(tensors) else r"(?:^|\.)cls_token$"
    )
    return next((value.shape[-1] for key, value in tensors.items() if re.search(last_norm, key)), 0)


def _is_convnext(tensors: Mapping[str, torch.Tensor]) -> bool:
    return any(part in key for key in tensors for part in (".depthwise_conv.", ".dwconv.", ".conv_dw."))


def describe(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return in words what network these weights seem to be of, for messages."""
    layout = layout_of(tensors)
    dim = embedding_dim_of(tensors)
    if _is_convnext(tensors):
        return f"a ConvNeXt ({dim or '?'} channels) in {layout}'s layout"
    blocks = {found[1] for k in tensors if (found := re.search(r"(?:blocks|layer)\.(?:\d+\.)?(\d+)\.", k))}
    if not dim or not blocks:
        return f"no vision transformer or ConvNeXt of DINO's ({len(tensors)} tensors such as {next(iter(tensors))!r})"
    registers = next(
        (
            v.shape[1]
            for k, v in tensors.items()
            if re.search(r"(?:reg_token|register_tokens|storage_tokens)$", k)
        ),
        0,
    )
    patch = next((v.shape[-1] for k, v in tensors.items() if v.ndim == 4 and "patch_embed" in k), 0)
    patches = f"patches of {patch} px" if patch else "no patch embedding (one part of several?)"
    return (
        f"a vision transformer with embeddings of length {dim}, {len(blocks)} blocks, {patches} "
        f"and {registers} register tokens in {layout}'s layout"
    )

"""The backbones by name. Knows no torch: the command line's help and the interface list these."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, replace

from napari_dinoad.errors import BackboneError

__all__ = ["BackboneSpec", "find_backbone", "list_backbones"]

TIMM_PREFIX = "timm:"
"""``timm:<name>`` takes any vision transformer or ConvNeXt that timm knows."""

_LAYERS = re.compile(r"^(?P<name>.+):last(?P<n>[1-9]\d?)$")

_DINOV3_LICENCE = "DINOv3 License (https://ai.meta.com/resources/models-and-libraries/dinov3-license/)"
_EUPE_LICENCE = "FAIR Noncommercial Research License"


@dataclass(frozen=True)
class BackboneSpec:
    """What is known of a backbone before it is loaded.

    Attributes
    ----------
    name : str
        The paper's name (``"dinov2_vits14"``), or ``timm:<name>``; ``:last4`` after it averages the last four
        blocks.
    family : str
        ``"DINOv2"``, ``"DINOv3"``, ``"DINOv3 ConvNeXt"``, ``"EUPE"``, ``"embedded"`` or ``"timm"``.
    description : str
        One line for people.
    parameters : int
        Number of weights (0: built-in filters, or unknown for ``timm:`` names).
    patch_size_px : int
        Side of a patch in input pixels (0: known only once loaded).
    embedding_dim : int
        Length of an embedding (0: known only once loaded).
    licence : str
        Licence of the weights.
    default_resolution_px : int
        Side of the square input.
    timm_name : str, optional
        timm's name of model and weights; None for the embedded backbone.
    meta_stem : str, optional
        How the file names of Meta's release begin.
    transformers_repo : str, optional
        Repository of the weights in Transformers' layout.
    n_layers : int
        Patch tokens are averaged over this many last blocks, each normalised.
    colour_embedding_dim : int
        Length of an embedding in colour, where it is another one (0: the same).
    """

    name: str
    family: str
    description: str
    parameters: int
    patch_size_px: int
    embedding_dim: int
    licence: str
    default_resolution_px: int
    timm_name: str | None = None
    meta_stem: str | None = None
    transformers_repo: str | None = None
    n_layers: int = 1
    colour_embedding_dim: int = 0

    @property
    def needs_weights(self) -> bool:
        """Whether a weights file must be found before it can run."""
        return self.timm_name is not None

    @property
    def is_dino(self) -> bool:
        """Whether the weights were trained by a DINO method."""
        timm_name = self.timm_name or ""
        return "dino" in timm_name and ".eupe" not in timm_name

    @property
    def base_name(self) -> str:
        """The name without the choice of layers: what weights are kept under."""
        found = _LAYERS.match(self.name)
        return found["name"] if found else self.name


def _dinov2(size: str, long_name: str, parameters: int, dim: int) -> tuple[BackboneSpec, BackboneSpec]:
    letter = "g" if size == "g" else size.upper()
    plain = BackboneSpec(
        f"dinov2_vit{size}14",
        "DINOv2",
        f"DINOv2 ViT-{letter}/14",
        parameters,
        14,
        dim,
        "Apache-2.0",
        448,
        f"vit_{long_name}_patch14_dinov2.lvd142m",
        f"dinov2_vit{size}14_pretrain",
        f"facebook/dinov2-{long_name}",
    )
    # Four register tokens come, and the class token's own place in the positional embedding goes.
    registers = replace(
        plain,
        name=f"dinov2_vit{size}14_reg",
        description=f"DINOv2 ViT-{letter}/14 with four register tokens",
        parameters=parameters + 3 * dim,
        timm_name=f"vit_{long_name}_patch14_reg4_dinov2.lvd142m",
        meta_stem=f"dinov2_vit{size}14_reg4_pretrain",
        transformers_repo=f"facebook/dinov2-with-registers-{long_name}",
    )
    return plain, registers


def _dinov3(
    size: str, title: str, parameters: int, dim: int, timm_name: str, *, satellite: bool = False
) -> BackboneSpec:
    data = "sat493m" if satellite else "lvd1689m"
    return BackboneSpec(
        f"dinov3_{size}_sat" if satellite else f"dinov3_{size}",
        "DINOv3",
        f"DINOv3 {title}, trained on satellite images" if satellite else f"DINOv3 {title}",
        parameters,
        16,
        dim,
        _DINOV3_LICENCE,
        448,
        f"{timm_name}.{data}",
        f"dinov3_{size}_pretrain_{data}",
        f"facebook/dinov3-{size}-pretrain-{data}",
    )


def _convnext(size: str, parameters: int, dim: int) -> BackboneSpec:
    return BackboneSpec(
        f"dinov3_convnext_{size}",
        "DINOv3 ConvNeXt",
        f"DINOv3 ConvNeXt {size}, a coarse grid of 32-pixel patches",
        parameters,
        32,
        dim,
        _DINOV3_LICENCE,
        448,
        f"convnext_{size}.dinov3_lvd1689m",
        f"dinov3_convnext_{size}_pretrain_lvd1689m",
        f"facebook/dinov3-convnext-{size}-pretrain-lvd1689m",
    )


def _eupe(size: str, long_name: str, parameters: int, dim: int) -> BackboneSpec:
    return BackboneSpec(
        f"eupe_vit{size}16",
        "EUPE",
        f"EUPE ViT-{size.upper()}/16, distilled from several encoders; non-commercial research only",
        parameters,
        16,
        dim,
        _EUPE_LICENCE,
        448,
        f"vit_{long_name}_patch16_dinov3_qkvb.eupe_lvd1689m",
        f"EUPE-ViT-{size.upper()}",
    )


_EMBEDDED = BackboneSpec(
    name="embedded",
    family="embedded",
    description="no DINO: wavelet scattering, for trying out and machines without weights",
    parameters=0,
    patch_size_px=16,
    embedding_dim=51,
    licence="BSD-3-Clause",
    default_resolution_px=256,
    colour_embedding_dim=73,
)

_SPECS: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (
        _EMBEDDED,
        *_dinov2("s", "small", 22_056_192, 384),
        *_dinov2("b", "base", 86_579_712, 768),
        *_dinov2("l", "large", 304_367_616, 1024),
        *_dinov2("g", "giant", 1_136_479_232, 1536),
        _dinov3("vits16", "ViT-S/16", 21_586_944, 384, "vit_small_patch16_dinov3"),
        _dinov3("vits16plus", "ViT-S+/16", 28_683_264, 384, "vit_small_plus_patch16_dinov3"),
        _dinov3("vitb16", "ViT-B/16", 85_641_216, 768, "vit_base_patch16_dinov3"),
        _dinov3("vitl16", "ViT-L/16", 303_079_424, 1024, "vit_large_patch16_dinov3"),
        _dinov3("vitl16", "ViT-L/16", 303_079_424, 1024, "vit_large_patch16_dinov3", satellite=True),
        _dinov3("vith16plus", "ViT-H+/16", 840_509_440, 1280, "vit_huge_plus_patch16_dinov3"),
        _dinov3("vit7b16", "ViT-7B/16", 6_716_030_976, 4096, "vit_7b_patch16_dinov3"),
        _dinov3("vit7b16", "ViT-7B/16", 6_716_030_976, 4096, "vit_7b_patch16_dinov3", satellite=True),
        _convnext("tiny", 27_820_128, 768),
        _convnext("small", 49_454_688, 768),
        _convnext("base", 87_566_464, 1024),
        _convnext("large", 196_230_336, 1536),
        _eupe("t", "tiny", 5_489_664, 192),
        _eupe("s", "small", 21_596_160, 384),
        _eupe("b", "base", 85_659_648, 768),
    )
}


def list_backbones() -> tuple[BackboneSpec, ...]:
    """Return every named backbone, the embedded one first. ``timm:<name>`` exists besides."""
    return tuple(_SPECS.values())


def find_backbone(name: str) -> BackboneSpec:
    """Return the backbone called ``name``, exactly; nothing is guessed.

    Parameters
    ----------
    name : str
        A name of `list_backbones` or ``timm:<name>``, with ``:last<n>`` after it to average the last n blocks.

    Raises
    ------
    BackboneError
        If there is none; the message names those that were probably meant.
    """
    if not isinstance(name, str):
        raise BackboneError(f"Backbone: expected a name, got {name!r}. {_suggestion('')}")
    layers = _LAYERS.match(name)
    if layers:
        return _with_layers(find_backbone(layers["name"]), int(layers["n"]))
    if name in _SPECS:
        return _SPECS[name]
    if name.startswith(TIMM_PREFIX) and len(name) > len(TIMM_PREFIX):
        timm_name = name.removeprefix(TIMM_PREFIX)
        return BackboneSpec(
            name, "timm", f"timm's {timm_name}", 0, 0, 0, "see the model's card", 448, timm_name
        )
    raise BackboneError(f"Backbone: {name!r} is not known. {_suggestion(name)}")


def _with_layers(spec: BackboneSpec, n_layers: int) -> BackboneSpec:
    if spec.family in ("embedded", "DINOv3 ConvNeXt"):
        raise BackboneError(
            f"Backbone: {spec.name!r} has no blocks of one size to average. Leave out ':last{n_layers}'."
        )
    suffix = f", mean of the last {n_layers} blocks" if n_layers > 1 else ""
    return replace(
        spec,
        name=f"{spec.name}:last{n_layers}",
        description=f"{spec.description}{suffix}",
        n_layers=n_layers,
    )


def _suggestion(name: str) -> str:
    plain = name.lower().replace("-", "_").strip()
    by_timm_name = {
        key: spec.name
        for spec in reversed(_SPECS.values())
        if spec.timm_name
        for key in (spec.timm_name, spec.timm_name.split(".")[0])
    }
    if plain in by_timm_name:
        return f"Use {by_timm_name[plain]!r}, or '{TIMM_PREFIX}{plain}' for timm's name."
    if plain in _SPECS:
        return f"Did you mean {plain!r}?"
    beginning = [known for known in _SPECS if plain and plain in known]
    meant = beginning or difflib.get_close_matches(plain, _SPECS, n=4, cutoff=0.6)
    if len(meant) == 1:
        return f"Did you mean {meant[0]!r}?"
    if meant:
        return f"It could be {', '.join(meant[:-1])} or {meant[-1]}; write the one you mean."
    return f"Known are {', '.join(_SPECS)}, and '{TIMM_PREFIX}<name>' for timm's other vision transformers."

"""Tensors of a file ↔ a network: put into it, once shapes, missing and surplus ones are checked; or recognised."""

from __future__ import annotations

import threading
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from napari_dinoad.backbones.layouts import Layout, describe, embedding_dim_of, layout_of, to_timm
from napari_dinoad.backbones.registry import find_backbone, list_backbones
from napari_dinoad.backbones.timm_vit import TimmBackbone, architecture_of, make_model
from napari_dinoad.backbones.weights.checkpoint import read_checkpoint
from napari_dinoad.backbones.weights.official import official_file
from napari_dinoad.errors import BackboneError, WeightsError
from napari_dinoad.machine.files import sha256_of_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from napari_dinoad.backbones.registry import BackboneSpec

__all__ = ["CheckedWeights", "check_weights", "model_with_weights", "recognise_weights"]

_NAMED_AT_MOST = 3
"""Missing or surplus tensors named in a message."""

_FEW_TENSORS = 10
"""A file with no more missing and surplus tensors is taken for a damaged one of that network, not for another's."""


@dataclass(frozen=True)
class CheckedWeights:
    """A weights file that was read and fits its backbone.

    Attributes
    ----------
    backbone : str
    path : Path
    layout : str
        ``"timm"``, ``"meta"`` or ``"transformers"``.
    weights_sha256 : str
        SHA-256 (hex) of the weights themselves, the same for every layout; what model files store.
    file_sha256 : str
        SHA-256 (hex) of the file.
    is_official : bool, optional
        Whether it is, byte for byte, the file of Meta's release; None for other layouts and where no hash is known.
    """

    backbone: str
    path: Path
    layout: Layout
    weights_sha256: str
    file_sha256: str
    is_official: bool | None


def check_weights(name: str, file: Path) -> CheckedWeights:
    """Read a file and put its tensors into the backbone ``name``; `WeightsError` if it does not hold its weights."""
    spec = find_backbone(name)
    if not spec.needs_weights:
        raise BackboneError(f"Weights: the backbone {name!r} takes none.")
    tensors = read_checkpoint(file)
    layout = layout_of(tensors)
    model = model_with_weights(spec, tensors, file)
    sha256 = TimmBackbone(spec, model, torch.device("cpu")).weights_sha256
    file_sha256 = sha256_of_file(file)
    official = official_file(spec) if layout == "meta" else None
    is_official = None if official is None else official.is_it(file_sha256)
    return CheckedWeights(spec.base_name, file, layout, sha256, file_sha256, is_official)


def recognise_weights(file: Path) -> tuple[str, ...]:
    """Return the named backbones whose network the tensors of a file fit, whatever the file is called.

    Networks of one shape with other weights (``dinov3_vitl16`` and ``dinov3_vitl16_sat``; ``dinov3_vits16`` without
    its zero biases and ``eupe_vits16``) cannot be told apart.

    Raises
    ------
    WeightsError
        If the file cannot be read, holds no vision transformer or ConvNeXt, or all but a few tensors of a named one.
    """
    tensors = read_checkpoint(file)
    dim = embedding_dim_of(tensors)
    if not dim:
        raise WeightsError(f"Weights: {file} holds {describe(tensors)}; expected those of a DINO backbone.")
    fitting, nearly = [], []
    for spec, faults, n_others in _compared(tensors):
        if not faults:
            fitting.append(spec.name)
        elif n_others <= _FEW_TENSORS:
            nearly.append((n_others, spec, faults))
    if nearly and not fitting:
        _, spec, faults = min(nearly, key=lambda near: near[0])
        raise _misfit(spec, tensors, file, faults)
    return tuple(fitting)


def _compared(tensors: Mapping[str, torch.Tensor]) -> Iterator[tuple[BackboneSpec, list[str], int]]:
    """Yield the named backbones of this length, what does not fit, and how many tensors only one of both has."""
    dim = embedding_dim_of(tensors)
    for spec in list_backbones():
        if spec.needs_weights and spec.embedding_dim == dim:
            converted, blueprint = _converted(spec, tensors)
            expected = blueprint.state_dict()
            yield spec, _faults(converted, expected), len(converted.keys() ^ expected.keys())


def _misfit(
    spec: BackboneSpec,
    tensors: Mapping[str, torch.Tensor],
    path: Path,
    faults: list[str],
    fitting: Sequence[str] = (),
) -> WeightsError:
    found = (
        f"It holds {' or '.join(fitting)}"
        if fitting
        else f"It seems to be {describe(tensors)}; {'; '.join(faults)}"
    )
    return WeightsError(
        f"Weights: {path} does not hold {spec.description} ({spec.base_name}). {found}. Give the file of this "
        "backbone, or choose the backbone of this file."
    )


def model_with_weights(spec: BackboneSpec, tensors: Mapping[str, torch.Tensor], path: Path) -> nn.Module:
    """Return timm's network with these weights, in any layout, after they were checked.

    Parameters
    ----------
    spec : BackboneSpec
    tensors : Mapping[str, torch.Tensor]
        As `read_checkpoint` returns them.
    path : Path
        Where they came from, for messages.

    Raises
    ------
    WeightsError
        If a tensor is missing, too many, of another shape, or its values are no finite floats.
    """
    converted, blueprint = _converted(spec, tensors)
    expected = blueprint.state_dict()
    faults = _faults(converted, expected)
    if faults:
        fitting = [other.name for other, others_faults, _ in _compared(tensors) if not others_faults]
        raise _misfit(spec, tensors, path, faults, fitting)
    # A network may count something, too (batches that a norm has seen).
    values = {key: value for key, value in converted.items() if expected[key].is_floating_point()}
    unusable = [key for key, value in values.items() if not _is_usable(value)]
    if unusable:
        raise WeightsError(
            f"Weights: {path} cannot be used: of {len(unusable)} tensors the values are whole numbers (quantised "
            f"weights are not taken), NaN or infinite ({', '.join(unusable[:_NAMED_AT_MOST])}). Get the file anew, "
            "in float32, float16 or bfloat16."
        )
    return _filled(spec, converted)


def _filled(spec: BackboneSpec, converted: dict[str, torch.Tensor]) -> nn.Module:
    """Return the network with these very tensors: made with values of its own, it would take their size once more."""
    with _parameters_without_memory():
        model = make_model(spec, with_bias=_has_bias(converted))
    whole = {key: value.contiguous() for key, value in converted.items()}
    model.load_state_dict(whole, strict=True, assign=True)
    return model


@contextmanager
def _parameters_without_memory() -> Iterator[None]:
    """Give what networks made in the block, on this thread, have as parameters no memory; buffers are computed."""
    maker = threading.get_ident()

    def without_memory(module: nn.Module, name: str, parameter: nn.Parameter | None) -> Any:
        if parameter is None or threading.get_ident() != maker:
            return None
        return nn.Parameter(parameter.to("meta"), parameter.requires_grad)

    hook = register_module_parameter_registration_hook(without_memory)
    try:
        yield
    finally:
        hook.remove()


def _is_usable(values: torch.Tensor) -> bool:
    return values.is_floating_point() and bool(torch.isfinite(values).all())


def _has_bias(converted: Mapping[str, torch.Tensor]) -> bool:
    return any(key.endswith((".attn.q_bias", ".attn.v_bias")) for key in converted)


def _converted(
    spec: BackboneSpec, tensors: Mapping[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor], nn.Module]:
    """Return the tensors under timm's names, and the network that they should fit, without memory of its own."""
    with torch.device("meta"):
        blueprint = make_model(spec)
    converted = to_timm(tensors, architecture_of(blueprint))
    if _has_bias(converted):
        with torch.device("meta"):
            blueprint = make_model(spec, with_bias=True)
    else:
        # Published without biases, wanted by a network that has them (EUPE): they are zero.
        for key, value in blueprint.state_dict().items():
            if key.endswith((".attn.q_bias", ".attn.v_bias")):
                converted.setdefault(key, torch.zeros(value.shape))
    return converted, blueprint


def _faults(got: Mapping[str, torch.Tensor], expected: Mapping[str, torch.Tensor]) -> list[str]:
    missing = [key for key in expected if key not in got]
    surplus = [key for key in got if key not in expected]
    misshapen = [key for key in expected if key in got and got[key].shape != expected[key].shape]
    faults = []
    if misshapen:
        key = misshapen[0]
        shapes = f"{key} is {tuple(got[key].shape)} where {tuple(expected[key].shape)} is needed"
        faults.append(f"{len(misshapen)} tensors have another shape ({shapes})")
    for kind, keys in (("missing", missing), ("surplus", surplus)):
        if keys:
            more = ", …" if len(keys) > _NAMED_AT_MOST else ""
            faults.append(f"{len(keys)} tensors are {kind} ({', '.join(keys[:_NAMED_AT_MOST])}{more})")
    return faults

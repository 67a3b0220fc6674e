"""Reading a `ScorerState` back: every fault becomes a `ModelFileError` that says what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from napari_dinoad.errors import ModelFileError, SettingError

if TYPE_CHECKING:
    from napari_dinoad.scoring.protocol import ScorerState

__all__ = ["require_scorer", "saved_settings", "saved_tensor", "saved_value"]

S = TypeVar("S")


def require_scorer(state: ScorerState, name: str) -> None:
    """Refuse the state of another scorer."""
    if state.name != name:
        raise ModelFileError(f"scorer state: expected {name!r}, got {state.name!r}; use `scorer_from_state`.")


def saved_value(state: ScorerState, key: str, kind: type[S]) -> S:
    """Return the scalar ``key`` of the state's settings as ``kind``."""
    value: Any = state.settings.get(key)
    if kind is float and type(value) is int:
        value = float(value)
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ModelFileError(
            f"scorer {state.name!r}, value {key!r}: expected {kind.__name__}, got {value!r}; "
            "the model file is damaged or from another version."
        )
    return value


def saved_settings(state: ScorerState, kind: type[S]) -> S:
    """Rebuild the settings dataclass ``kind`` from the state's ``"settings"`` mapping."""
    saved = state.settings.get("settings")
    if not isinstance(saved, Mapping):
        raise ModelFileError(
            f"scorer {state.name!r}: expected its settings, got {saved!r}; the file is damaged."
        )
    known = {item.name for item in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(saved) - known)
    if unknown:
        raise ModelFileError(
            f"scorer {state.name!r}: expected only known settings, got {', '.join(unknown)}; "
            "the model was made by a newer version."
        )
    try:
        return kind(**saved)
    except (SettingError, TypeError) as error:
        raise ModelFileError(f"scorer {state.name!r}: its saved settings are not valid: {error}") from error


def saved_tensor(
    state: ScorerState, key: str, shape: Sequence[int | None], dtype: torch.dtype = torch.float64
) -> torch.Tensor:
    """Return tensor ``key`` after checking its shape (None: any length), as ``dtype`` on the CPU.

    Raises
    ------
    ModelFileError
        If it is missing, has another shape, or holds NaN or infinity (but −∞ as the logarithm of a weight).
    """
    tensor = state.tensors.get(key)
    wanted = "(" + ", ".join("any" if n is None else str(n) for n in shape) + ")"
    if tensor is None:
        raise ModelFileError(
            f"scorer {state.name!r}: expected tensor {key!r} of shape {wanted}, got none; the file is damaged."
        )
    fits = tensor.ndim == len(shape) and all(
        n is None or n == m for n, m in zip(shape, tensor.shape, strict=True)
    )
    if not fits:
        raise ModelFileError(
            f"scorer {state.name!r}, tensor {key!r}: expected shape {wanted}, got {tuple(tensor.shape)}; "
            "the file is damaged or from another version."
        )
    is_number = torch.isfinite(tensor)
    if key.endswith("log_weights") and tensor.is_floating_point():
        is_number |= torch.isneginf(tensor)
    if tensor.is_complex() or not is_number.all():
        raise ModelFileError(
            f"scorer {state.name!r}, tensor {key!r}: expected numbers, got NaN or infinity; fit it again."
        )
    return tensor.detach().to(device="cpu", dtype=dtype).clone()
